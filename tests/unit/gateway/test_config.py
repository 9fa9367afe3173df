"""Names, defaults and the default model of the configuration, as clients meet them."""

from typing import Any

import httpx
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from proto.config import Config, ModelConfig
from proto.generation import Sampling
from proto.prompt import Chat, Thinking, Turn
from tests.unit.gateway.conftest import Decide
from tests.unit.gateway.scripted import MODEL, ScriptedEngine

HI: list[Any] = [{"role": "user", "content": "Hi"}]


def chat(scripted: ScriptedEngine) -> Chat:
    prompt = scripted.asked[-1].prompt
    assert isinstance(prompt, Chat)
    return prompt


async def test_an_alias_is_answered_by_its_model_under_the_clients_name(
    decide: Decide, scripted: ScriptedEngine, openai: AsyncOpenAI
) -> None:
    await decide(Config(aliases={"gpt-4o": MODEL}))

    answer = await openai.chat.completions.create(model="gpt-4o", messages=HI)

    assert scripted.asked[-1].model == MODEL
    assert answer.model == "gpt-4o"


async def test_aliases_are_listed_as_models_of_their_own(
    decide: Decide, http: httpx.AsyncClient
) -> None:
    await decide(Config(aliases={"gpt-4o": "tiny", "claude*": MODEL, "away": "org/not-here"}))

    listed = (await http.get("/v1/models")).json()["data"]
    one = await http.get("/v1/models/gpt-4o")

    known = {entry["id"]: entry["x_odyssai"].get("alias_for") for entry in listed}
    assert known["gpt-4o"] == MODEL
    assert not {"claude*", "away"} & set(known)
    assert one.json()["root"] == MODEL


async def test_claudes_tiers_are_what_the_operator_says(
    decide: Decide, scripted: ScriptedEngine, anthropic: AsyncAnthropic
) -> None:
    await decide(Config(aliases={"claude-sonnet*": MODEL}))

    answer = await anthropic.messages.create(model="claude-sonnet-next", max_tokens=5, messages=HI)

    assert scripted.asked[-1].model == MODEL
    assert answer.model == "claude-sonnet-next"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
        ("/tokenize", {"prompt": "a"}),
        ("/detokenize", {"tokens": [1]}),
        ("/v1/messages/count_tokens", {"messages": HI}),
        ("/v1/responses/input_tokens", {"input": "a"}),
        ("/v1/responses", {"input": "a"}),
        ("/v1/completions", {"prompt": "a"}),
        ("/api/chat", {"messages": HI, "stream": False}),
        ("/api/generate", {"prompt": "a", "stream": False}),
        ("/api/embed", {"input": "a"}),
        ("/api/show", {}),
    ],
)
async def test_every_endpoint_knows_aliases(
    decide: Decide, http: httpx.AsyncClient, scripted: ScriptedEngine, path: str, body: Any
) -> None:
    scripted.can = {
        "kind": {"/v1/rerank": "reranker"}.get(path, "embedder" if "emb" in path else "llm")
    }
    await scripted.say()
    await decide(Config(aliases={"other-name": MODEL}))

    answer = await http.post(path, json={"model": "other-name", **body})

    assert answer.status_code == 200, answer.text
    assert answer.json().get("model", "other-name") == "other-name"


async def test_who_names_no_model_gets_the_operators_default_or_is_told_to_name_one(
    decide: Decide, http: httpx.AsyncClient, scripted: ScriptedEngine
) -> None:
    refused = await http.post("/v1/chat/completions", json={"messages": HI})
    await decide(Config(default_model="tiny"))
    answered = await http.post("/v1/chat/completions", json={"messages": HI})
    message = await http.post("/v1/messages", json={"messages": HI, "max_tokens": 5})

    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "`model` is required; add it."
    assert answered.status_code == message.status_code == 200
    assert answered.json()["model"] == "tiny"


async def test_defaults_fill_what_a_request_leaves_open_and_nothing_else(
    decide: Decide, scripted: ScriptedEngine, openai: AsyncOpenAI
) -> None:
    await decide(
        Config(models={MODEL: ModelConfig(temperature=0.3, top_k=7, min_p=0.1, max_tokens=99)})
    )

    await openai.chat.completions.create(model="tiny", messages=HI, temperature=1.0)

    assert scripted.asked[-1].sampling == Sampling(temperature=1.0, top_k=7, min_p=0.1)
    assert scripted.asked[-1].max_tokens == 99
    await openai.chat.completions.create(model="tiny", messages=HI, max_tokens=3)
    assert scripted.asked[-1].sampling.temperature == 0.3
    assert scripted.asked[-1].max_tokens == 3


async def test_ollamas_own_name_for_a_penalty_is_the_clients_word_too(
    decide: Decide, scripted: ScriptedEngine, http: httpx.AsyncClient
) -> None:
    await decide(Config(models={MODEL: ModelConfig(repetition_penalty=1.3, temperature=0.2)}))

    body = {"model": "tiny", "messages": HI, "stream": False, "options": {"repeat_penalty": 1.0}}
    await http.post("/api/chat", json=body)

    assert scripted.asked[-1].sampling == Sampling(repetition_penalty=1.0, temperature=0.2)


async def test_a_system_prefix_stands_in_front_of_what_the_client_says(
    decide: Decide, scripted: ScriptedEngine, openai: AsyncOpenAI
) -> None:
    await decide(Config(models={"*": ModelConfig(system_prefix="Be brief.")}))

    await openai.chat.completions.create(model="tiny", messages=HI)
    assert chat(scripted).turns[0] == Turn(role="system", content="Be brief.")
    await openai.chat.completions.create(
        model="tiny", messages=[{"role": "system", "content": "You sing."}, *HI]
    )
    assert chat(scripted).turns[0] == Turn(role="system", content="Be brief.\n\nYou sing.")
    assert len(chat(scripted).turns) == 2


async def test_thinking_is_as_the_operator_says_unless_the_client_does(
    decide: Decide, scripted: ScriptedEngine, openai: AsyncOpenAI
) -> None:
    await decide(Config(models={MODEL: ModelConfig(thinking=False)}))

    await openai.chat.completions.create(model="tiny", messages=HI)
    assert chat(scripted).thinking == Thinking(enabled=False)
    await openai.chat.completions.create(model="tiny", messages=HI, reasoning_effort="low")
    assert chat(scripted).thinking.effort == "low"
