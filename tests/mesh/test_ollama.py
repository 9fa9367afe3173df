"""Ollama's own client against the real mesh."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
from ollama import AsyncClient, Client, ResponseError

from tests.mesh.asking import QUESTION, posted
from tests.mesh.house import Mesh
from tests.parrot import script

TURNS = [{"role": "user", "content": QUESTION}]
GREEDY = {"temperature": 0, "num_predict": 24}


@pytest.fixture
def llama(mesh: Mesh) -> Iterator[Client]:
    with Client(host=mesh.url, trust_env=False) as client:
        yield client


def test_the_same_words_come_whole_streamed_and_from_openais_side(
    llama: Client, http: httpx.Client
) -> None:
    whole = llama.chat("tiny:latest", TURNS, options=GREEDY)
    parts = list(llama.chat("tiny", TURNS, options=GREEDY, stream=True))
    theirs = http.post(
        "/v1/chat/completions",
        json={"model": "tiny", "messages": TURNS, "temperature": 0, "max_tokens": 24},
    ).json()

    said = "".join(part.message.content or "" for part in parts)
    assert whole.message.content == said == theirs["choices"][0]["message"]["content"] != ""
    assert parts[-1].done
    assert parts[-1].eval_count == whole.eval_count == theirs["usage"]["completion_tokens"]
    assert whole.prompt_eval_count == theirs["usage"]["prompt_tokens"]
    assert whole.done_reason in ("stop", "length")
    assert whole.total_duration
    assert whole.eval_duration
    assert whole.total_duration >= whole.eval_duration > 0


def test_a_raw_prompt_is_not_put_into_the_template(llama: Client, http: httpx.Client) -> None:
    raw = llama.generate("tiny", QUESTION, raw=True, options=GREEDY)
    chat = llama.generate("tiny", QUESTION, options=GREEDY)
    theirs = http.post(
        "/v1/completions",
        json={"model": "tiny", "prompt": QUESTION, "temperature": 0, "max_tokens": 24},
    ).json()

    assert raw.response == theirs["choices"][0]["text"]
    assert chat.prompt_eval_count
    assert raw.prompt_eval_count
    assert chat.prompt_eval_count > raw.prompt_eval_count


def test_logprobs_are_those_of_the_words(llama: Client) -> None:
    answer = llama.chat("tiny", TURNS, options=GREEDY, logprobs=True, top_logprobs=2)

    assert answer.logprobs
    assert len(answer.logprobs) == answer.eval_count
    assert all(len(position.top_logprobs or ()) == 2 for position in answer.logprobs)
    assert all(position.logprob <= 0 for position in answer.logprobs)


async def test_many_are_served_side_by_side(mesh: Mesh) -> None:
    async with AsyncClient(host=mesh.url, trust_env=False) as client:
        asked = [client.chat("tiny", TURNS, options=GREEDY) for _ in range(8)]
        answers = await asyncio.gather(*asked)

    assert len({answer.message.content for answer in answers}) == 1


def test_models_are_listed_shown_and_running(llama: Client) -> None:
    listed = {model.model for model in llama.list().models}
    running = {model.model: model for model in llama.ps().models}
    shown = llama.show("tiny")

    assert "tiny:latest" in listed
    assert running["tiny:latest"].size
    assert running["tiny:latest"].context_length
    assert shown.modelinfo
    assert shown.modelinfo["llama.context_length"] == running["tiny:latest"].context_length
    assert shown.details
    assert shown.details.family == "llama"
    assert shown.capabilities
    assert "completion" in shown.capabilities


def test_loading_and_unloading_come_to_a_yes(llama: Client) -> None:
    assert llama.chat("tiny", []).done_reason == "load"
    assert llama.generate("tiny", keep_alive=0).done_reason == "unload"
    assert llama.chat("tiny", TURNS, options={"num_predict": 1}).done


def test_an_unknown_model_is_not_found(llama: Client) -> None:
    with pytest.raises(ResponseError, match="model 'absent' not found") as caught:
        llama.chat("absent", TURNS)

    assert caught.value.status_code == 404


def test_a_model_without_vectors_says_so(llama: Client) -> None:
    with pytest.raises(ResponseError, match="does not support embeddings") as caught:
        llama.embed("tiny", "Hi")

    assert caught.value.status_code == 400


def test_a_prompt_that_does_not_fit_is_refused_and_not_cut(mesh: Mesh) -> None:
    body = {"model": "tiny", "prompt": "tide " * 90_000, "stream": False}
    answer = posted(mesh, "/api/generate", body)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


def test_the_speed_of_answers_is_known_once_there_were_some(
    llama: Client, http: httpx.Client
) -> None:
    llama.chat("tiny", TURNS, options=GREEDY | {"num_predict": 64})
    known = http.get("/v1/models/tiny").json()["x_odyssai"]
    while not known["estimated_tps"]:  # Told with the engine's next heartbeat.
        known = http.get("/v1/models/tiny").json()["x_odyssai"]

    assert known["warm"] is True


@pytest.fixture
def parrot(parrots: Mesh) -> Iterator[Client]:
    with Client(host=parrots.url, trust_env=False) as client:
        yield client


def weather(city: str) -> str:
    """How it is outside.

    Args:
        city: Which city.

    Returns:
        In one word.
    """
    return city


CALLING = (
    '<think>\nHm.\n</think>\n\nI look.<tool_call>\n{"name": "weather", "arguments": '
    '{"city": "Rome"}}\n</tool_call>'
)


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_words_and_calls_are_told_apart(parrot: Client, stream: bool) -> None:
    asked = [{"role": "user", "content": script(CALLING)}]
    answer = parrot.chat("parrot", asked, tools=[weather], think=True, stream=stream)
    messages = [part.message for part in (answer if stream else [answer])]

    calls = [call.function for message in messages for call in message.tool_calls or ()]
    assert [(call.name, dict(call.arguments)) for call in calls] == [("weather", {"city": "Rome"})]
    assert "".join(message.thinking or "" for message in messages).strip() == "Hm."
    assert "".join(message.content or "" for message in messages).strip() == "I look."


def test_a_call_and_its_result_go_back(parrot: Client) -> None:
    asked = [{"role": "user", "content": script(CALLING)}]
    called = parrot.chat("parrot", asked, tools=[weather]).message
    told = {"role": "tool", "content": "Sunny.", "tool_name": "weather"}
    answer = parrot.chat("parrot", [*asked, called, told], tools=[weather])

    assert answer.message.content == "Sunny."


def test_thinking_can_be_left_out(parrot: Client) -> None:
    asked = [{"role": "user", "content": "Just so."}]

    assert parrot.chat("parrot", asked, think=False).message.content == "Just so."


def test_a_schema_is_kept(llama: Client) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }
    answer = llama.chat("tiny", TURNS, format=schema, options={"temperature": 1, "seed": 5})

    assert set(json.loads(answer.message.content or "")) == {"n"}
