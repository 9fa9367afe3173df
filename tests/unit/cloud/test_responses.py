"""The Responses API at a provider that has it: its own words, both ways, through the whole mesh."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import httpx
import openai
import pytest

from ops import command
from tests.mesh.asking import posted
from tests.mesh.house import Mesh
from tests.mesh.telemetry import Telemetry
from tests.unit.cloud.keeper import TEXT, Keeper
from tests.unit.cloud.upstream import TEXT as OTHER_TEXT
from tests.unit.cloud.upstream import Upstream

PATH = "/v1/responses"
JSON = {"content-type": "application/json"}
CONFIG = """
providers:
  lab: {{kind: openai, url: "{lab}"}}
  near: {{url: "{near}"}}
fallbacks:
  "lab:broken": ["near:some-model"]
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Keeper]:
    with Keeper.running() as keeper:
        yield keeper


@pytest.fixture(scope="module")
def near() -> Iterator[Upstream]:
    """It speaks chat completions alone."""
    with Upstream.running() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def mesh(lab: Keeper, near: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    home = tmp_path_factory.mktemp("responses") / "home"
    home.mkdir(mode=0o700)
    (home / "odyssai.yaml").write_text(CONFIG.format(lab=lab.url, near=near.url))
    mesh = Mesh(home, [], {}, ["--only", "gateway,scheduler,cloud"])
    yield mesh.wait_until_it_serves(["lab:some-model", "near:some-model"])
    mesh.end()


def asked(model: str = "lab:some-model", **more: Any) -> dict[str, Any]:
    return {"model": model, "input": "How is the sea?", **more}


def test_a_request_and_its_answer_go_on_as_they_came(mesh: Mesh, lab: Keeper) -> None:
    body = (
        b'{ "input":[{"role":"user","content":"\\u0048ow?","new":{"model":"kept"}}],\n'
        b' "tomorrow": [1.50, 1e3], "model" : "lab:some-model" }'
    )
    answer = httpx.post(mesh.url + PATH, content=body, headers=JSON, trust_env=False)

    assert answer.status_code == 200, answer.text
    assert lab.asked[-1] == ("POST /v1/responses", body.replace(b"lab:some-model", b"some-model"))
    assert answer.content == lab.said
    assert answer.headers["x-odyssai-engine"].startswith("cloud.lab")


def test_a_stream_comes_as_it_was_said_with_what_nobody_knows(mesh: Mesh, lab: Keeper) -> None:
    answer = posted(mesh, PATH, asked(stream=True))

    assert answer.content == lab.said
    assert b"response.hologram" in lab.said


async def test_what_it_took_is_read_along(mesh: Mesh) -> None:
    async with Telemetry.listen(mesh.access.url("ops")) as telemetry:
        for more in ({}, {"stream": True}):
            since = telemetry.now
            posted(mesh, PATH, asked(**more))
            told = await telemetry.until("request", since=since)
            counted = (told["prompt_tokens"], told["cached_tokens"], told["completion_tokens"])
            assert counted == (9, 4, 5)
            assert told["endpoint"] == PATH


def test_an_answer_that_its_limit_ended_is_whole(mesh: Mesh, lab: Keeper) -> None:
    answer = posted(mesh, PATH, asked("lab:brief", stream=True))

    assert answer.content == lab.said


def test_its_record_says_that_its_limit_ended_it(gpt: openai.OpenAI) -> None:
    *_, last = gpt.responses.create(**asked("lab:brief", stream=True))
    assert last.type == "response.incomplete"

    *_, told = gpt.responses.retrieve(last.response.id, stream=True)

    assert told.type == "response.incomplete"
    assert told.response.status == "incomplete"


def test_a_kept_response_is_shown_listed_and_deleted_by_its_provider(
    gpt: openai.OpenAI, lab: Keeper
) -> None:
    made = gpt.responses.create(**asked())

    shown = gpt.responses.with_raw_response.retrieve(
        made.id, include=["reasoning.encrypted_content"]
    )
    assert shown.content == lab.kept[made.id][0]
    assert lab.asked[-1][0].startswith(f"GET /v1/responses/{made.id}?include")
    assert "query" in json.loads(
        gpt.responses.input_items.with_raw_response.list(made.id, limit=1).content
    )
    assert lab.asked[-1][0] == f"GET /v1/responses/{made.id}/input_items?limit=1"
    gpt.responses.delete(made.id)
    assert made.id not in lab.kept
    with pytest.raises(openai.NotFoundError, match="not found"):
        gpt.responses.retrieve(made.id)


def test_one_that_its_provider_has_forgotten_is_not_found(gpt: openai.OpenAI, lab: Keeper) -> None:
    made = gpt.responses.create(**asked())
    del lab.kept[made.id]

    with pytest.raises(openai.NotFoundError, match=made.id):
        gpt.responses.retrieve(made.id)


def test_one_that_is_not_to_be_stored_is_nowhere(gpt: openai.OpenAI, lab: Keeper) -> None:
    made = gpt.responses.create(**asked(store=False))

    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(made.id)
    assert not lab.asked[-1][0].startswith("GET")


def test_a_conversation_goes_on_where_it_is_kept(gpt: openai.OpenAI, lab: Keeper) -> None:
    *_, last = gpt.responses.create(**asked(stream=True))
    assert last.type == "response.completed"
    first = last.response
    second = gpt.responses.create(**asked(previous_response_id=first.id))

    assert second.output_text == TEXT
    assert json.loads(lab.asked[-1][1])["previous_response_id"] == first.id


def test_another_model_goes_on_from_it_with_all_that_was_said(
    gpt: openai.OpenAI, near: Upstream
) -> None:
    first = gpt.responses.create(**asked())
    second = gpt.responses.create(**asked("near:some-model", previous_response_id=first.id))

    assert second.output_text == OTHER_TEXT
    turns = [turn["content"] for turn in near.asked[-1]["messages"]]
    assert turns == ["How is the sea?", TEXT, "How is the sea?"]


def test_it_goes_on_from_what_another_model_began(gpt: openai.OpenAI, lab: Keeper) -> None:
    first = gpt.responses.create(**asked("near:some-model"))
    second = gpt.responses.create(**asked(previous_response_id=first.id))

    assert second.output_text == "Told in chat."
    path, body = lab.asked[-1]
    assert path == "POST /v1/chat/completions"
    turns = [turn["content"] for turn in json.loads(body)["messages"]]
    assert turns == ["How is the sea?", OTHER_TEXT, "How is the sea?"]


def test_what_only_its_provider_understands_only_its_provider_goes_on_from(
    gpt: openai.OpenAI, lab: Keeper
) -> None:
    first = gpt.responses.create(**asked("lab:novel"))

    with pytest.raises(openai.BadRequestError, match="only lab:novel understands"):
        gpt.responses.create(**asked("near:some-model", previous_response_id=first.id))
    assert gpt.responses.create(**asked(previous_response_id=first.id)).output_text == TEXT


@pytest.mark.parametrize("more", [{}, {"tomorrow": 1}], ids=str)
def test_a_response_that_nobody_knows_the_provider_is_not_even_asked_for(
    gpt: openai.OpenAI, lab: Keeper, more: dict[str, Any]
) -> None:
    before = len(lab.asked)
    with pytest.raises(openai.BadRequestError, match="'resp_other' not found"):
        gpt.responses.create(**asked(previous_response_id="resp_other"), extra_body=more)

    assert len(lab.asked) == before


def test_what_is_left_to_the_background_the_mesh_does_itself(
    gpt: openai.OpenAI, lab: Keeper, mesh: Mesh
) -> None:
    made = gpt.responses.create(**asked(background=True))
    refused = posted(mesh, PATH, asked(background=True, tomorrow=1))

    assert made.background
    assert (refused.status_code, "tomorrow" in refused.text) == (400, True)


@pytest.mark.parametrize(("model", "why"), [("fallen", "it fell over"), ("cut", "broke off")])
def test_an_answer_that_fails_ends_with_an_error_of_the_dialect(
    mesh: Mesh, model: str, why: str
) -> None:
    answer = posted(mesh, PATH, asked(f"lab:{model}", stream=True))

    last = json.loads(answer.text.rstrip().split("\n\n")[-1].partition("data: ")[2])
    assert "Calm" in answer.text
    assert last["type"] == "response.failed"
    assert why in last["response"]["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_another_model_of_the_chain_answers_in_the_mesh_s_words(mesh: Mesh, stream: bool) -> None:
    answer = posted(mesh, PATH, asked("lab:broken", stream=stream))

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-odyssai-route"] == "lab:broken > near:some-model"
    assert "Calm" in answer.text
    if stream:
        kinds = [line[7:] for line in answer.text.splitlines() if line.startswith("event: ")]
        assert kinds[:2] == ["response.created", "response.in_progress"]
        assert kinds[-1] == "response.completed"
        assert kinds.count("response.created") == 1


def key(mesh: Mesh, name: str) -> str:
    with redirect_stdout(io.StringIO()) as said:
        assert command.main(["key", "create", name, "--home", str(mesh.home)]) == 0
    return said.getvalue().split()[0]


@pytest.mark.parametrize("more", [{}, {"tomorrow": 1}], ids=str)
def test_what_is_another_key_s_the_provider_is_not_even_asked_for(
    mesh: Mesh, lab: Keeper, more: dict[str, Any]
) -> None:
    """For it all keys of the mesh are one account."""
    url, name = f"{mesh.url}/v1", f"k{len(more)}"
    with (
        openai.OpenAI(base_url=url, api_key=key(mesh, f"{name}a"), max_retries=2) as ours,
        openai.OpenAI(base_url=url, api_key=key(mesh, f"{name}b"), max_retries=2) as theirs,
    ):
        first = ours.responses.create(**asked())
        before, going_on = len(lab.asked), asked(previous_response_id=first.id)
        with pytest.raises(openai.BadRequestError, match=f"{first.id!r} not found"):
            theirs.responses.create(**going_on, extra_body=more)
        for ask in (theirs.responses.retrieve, theirs.responses.delete):
            with pytest.raises(openai.NotFoundError):
                ask(first.id)

        assert len(lab.asked) == before
        assert ours.responses.create(**going_on, extra_body=more).output_text == TEXT
