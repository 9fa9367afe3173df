"""Requests to an engine near by: said in its own words, or refused by name."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from proto.config import ProviderKind
from proto.embedding import Embed, Rerank
from proto.errors import Code, MeshError
from proto.format import Format, Grammar, JsonObject, JsonSchema, Regex
from proto.generation import Generate, Sampling
from proto.ids import GatewayId, ModelId, RequestId
from proto.prompt import Chat, DocumentPart, Thinking, Tokens, Tool, ToolChoice, Turn
from services.cloud.engines.kinds import KINDS
from services.cloud.engines.loading import Loading
from services.cloud.engines.neighbour import Neighbour
from services.cloud.engines.stops import Stops
from services.cloud.settings import Upstream
from tests.unit.cloud.canned import canned
from tests.unit.cloud.engines import box as boxes
from tests.unit.cloud.engines.box import CHAT, Answers, Box, box

BOXES: dict[ProviderKind, Answers] = {
    "ollama": boxes.OLLAMA, "lmstudio": boxes.LMSTUDIO, "vllm": boxes.VLLM,
    "llamacpp": boxes.LLAMACPP, "llama-cpp-python": boxes.LLAMA_CPP_PYTHON,
    "mlx-lm": boxes.MLX_LM, "telemak": boxes.TELEMAK, "odyssai": boxes.ODYSSAI_X,
    "mesh": boxes.MESH,
}  # fmt: skip
PDF = DocumentPart(url="data:application/pdf;base64,AA==")
TOOL = Tool(name="weather")
WORDS = Chat(turns=(Turn(role="user", content="How is the sea?"),))


def asked(chat: Chat = WORDS, **more: Any) -> Generate:
    return Generate(
        request=RequestId("r"), gateway=GatewayId("g"), model=ModelId("box:m"), prompt=chat, **more
    )


def neighbour(kind: ProviderKind, engine: Box, **more: Any) -> Neighbour:
    return Neighbour(
        Upstream(name="box", url=f"{engine.root}/v1", kind=kind, **more), KINDS[kind]()
    )


async def said(kind: ProviderKind, request: Generate, answers: Answers | None = None) -> Any:
    """What the engine was asked, once its catalog was looked at."""
    async with box({**(answers or BOXES[kind]), CHAT: ["Calm"]}) as engine:
        client = neighbour(kind, engine)
        try:
            await client.catalog()
            text = "".join([piece.text async for piece in client.generate(request)])
        finally:
            await client.close()
        assert text == "Calm"
        return engine.posted(CHAT)[0]


NEUTRAL = {"temperature": 1.0, "top_p": 1.0}
DEFAULTS: dict[ProviderKind, dict[str, Any]] = {
    "ollama": NEUTRAL,
    "lmstudio": NEUTRAL | {"top_k": 0},
    "vllm": NEUTRAL | {"min_p": 0.0, "top_k": 0, "repetition_penalty": 1.0},
    "llamacpp": NEUTRAL | {"min_p": 0.0, "top_k": 0},
    "llama-cpp-python": NEUTRAL | {"min_p": 0.0, "top_k": 0, "repeat_penalty": 1.0},
    "mlx-lm": NEUTRAL | {"min_p": 0.0, "top_k": 0, "max_tokens": 1 << 20},
    "telemak": NEUTRAL | {"min_p": 0.0, "top_k": 0},
    "odyssai": {"max_tokens": 32_768},
    "mesh": NEUTRAL,
}
"""What is said where a client says nothing: else the engine's own defaults would count."""


@pytest.mark.parametrize("kind", BOXES)
async def test_what_a_client_leaves_out_means_the_same_everywhere(kind: ProviderKind) -> None:
    told = await said(kind, asked())

    plain = {"model", "stream", "stream_options", "messages"}
    assert {name: told[name] for name in told.keys() - plain} == DEFAULTS[kind]


HOT = Sampling(top_k=5, min_p=0.1, repetition_penalty=1.2, logit_bias={7: 2.0})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("vllm", {"repetition_penalty": 1.2}),
        ("llamacpp", {"repeat_penalty": 1.2, "repeat_last_n": -1}),
        ("llama-cpp-python", {"repeat_penalty": 1.2}),
        ("mlx-lm", {"repetition_penalty": 1.2, "repetition_context_size": 1 << 20}),
        ("mesh", {"repetition_penalty": 1.2}),
    ],
)
async def test_sampling_is_said_by_the_engine_s_own_names(
    kind: ProviderKind, expected: dict[str, Any]
) -> None:
    told = await said(kind, asked(sampling=HOT))

    assert told.items() >= ({"top_k": 5, "min_p": 0.1, "logit_bias": {"7": 2.0}} | expected).items()


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
OPENAI_SCHEMA = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": False},
    }
}
ANY_OBJECT = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": False},
}
GBNF = 'root ::= "a"'


@pytest.mark.parametrize(
    ("kind", "answers", "wanted", "expected"),
    [
        ("ollama", None, JsonObject(), {"response_format": {"type": "json_object"}}),
        ("ollama", None, JsonSchema(schema=SCHEMA), OPENAI_SCHEMA),
        ("lmstudio", None, JsonObject(), {"response_format": ANY_OBJECT}),
        ("vllm", None, Regex(pattern="a+"), {"structured_outputs": {"regex": "a+"}}),
        ("vllm", None, Grammar(source=GBNF), {"structured_outputs": {"grammar": GBNF}}),
        ("vllm", boxes.OLDER_VLLM, Regex(pattern="a+"), {"guided_regex": "a+"}),
        ("vllm", boxes.OLDER_VLLM, Grammar(source=GBNF), {"guided_grammar": GBNF}),
        ("llamacpp", None, Grammar(source=GBNF), {"grammar": GBNF}),
        ("llamacpp", None, JsonSchema(schema=SCHEMA), OPENAI_SCHEMA),
        (
            "llama-cpp-python", None, JsonSchema(schema=SCHEMA),
            {"response_format": {"type": "json_object", "schema": SCHEMA}},
        ),
        (
            "mesh", None, Regex(pattern="a+"),
            {"response_format": {"type": "regex", "pattern": "a+"}},
        ),
    ],
)  # fmt: skip
async def test_formats_are_said_as_the_engine_has_them(
    kind: ProviderKind, answers: Answers | None, wanted: Format, expected: dict[str, Any]
) -> None:
    told = await said(kind, asked(format=wanted), answers)

    assert told.items() >= expected.items()


@pytest.mark.parametrize(
    ("kind", "enabled", "expected"),
    [
        ("vllm", False, {"chat_template_kwargs": {"enable_thinking": False}}),
        ("mlx-lm", True, {"chat_template_kwargs": {"enable_thinking": True}}),
        ("telemak", False, {"enable_thinking": False}),
        ("ollama", False, {"reasoning_effort": "none"}),
    ],
)
async def test_thinking_is_switched_as_the_engine_has_it(
    kind: ProviderKind, enabled: bool, expected: dict[str, Any]
) -> None:
    told = await said(kind, asked(replace(WORDS, thinking=Thinking(enabled=enabled))))

    assert told.items() >= expected.items()


async def test_tools_that_must_not_be_called_are_not_shown_to_who_knows_no_choice() -> None:
    chat = replace(WORDS, tools=(TOOL,), tool_choice=ToolChoice(mode="none"))

    assert "tools" not in await said("ollama", asked(chat))
    assert (await said("vllm", asked(chat)))["tool_choice"] == "none"


def with_tools(choice: ToolChoice) -> Generate:
    return asked(replace(WORDS, tools=(TOOL,), tool_choice=choice))


REFUSED: list[tuple[ProviderKind, Generate, str]] = [
    ("ollama", asked(sampling=Sampling(top_k=5)), "top_k"),
    ("ollama", asked(sampling=Sampling(logit_bias={1: 1.0})), "logit_bias"),
    ("ollama", asked(logprobs=0), "logprobs"),
    ("ollama", asked(format=Regex(pattern="a")), "response_format"),
    ("ollama", with_tools(ToolChoice(mode="required")), "tool_choice"),
    ("ollama", with_tools(ToolChoice(parallel=False)), "parallel_tool_calls"),
    ("ollama", asked(replace(WORDS, template_options={"x": 1})), "chat_template_kwargs"),
    ("ollama", replace(asked(), prompt=Tokens(ids=(1,))), "prompt"),
    ("ollama", asked(Chat(turns=(Turn(role="user", content=(PDF,)),))), "messages"),
    ("lmstudio", asked(sampling=Sampling(min_p=0.1)), "min_p"),
    ("vllm", asked(sampling=Sampling(word_bias={"a": 1.0})), "logit_bias"),
    ("llamacpp", asked(format=Regex(pattern="a")), "response_format"),
    ("llamacpp", asked(format=Grammar(source='start: "a"')), "response_format"),
    ("llama-cpp-python", asked(format=Grammar(source=GBNF)), "response_format"),
    ("mlx-lm", asked(format=JsonObject()), "response_format"),
    ("mlx-lm", asked(logprobs=0), "logprobs"),
    ("telemak", asked(sampling=Sampling(presence_penalty=1.0)), "presence_penalty"),
    ("odyssai", asked(sampling=Sampling(temperature=0.5)), "temperature"),
    ("odyssai", asked(sampling=Sampling(seed=1)), "seed"),
]


@pytest.mark.parametrize(("kind", "request_", "param"), REFUSED)
async def test_what_an_engine_would_drop_is_refused_by_name(
    kind: ProviderKind, request_: Generate, param: str
) -> None:
    async with box(BOXES[kind]) as engine:
        client = neighbour(kind, engine)
        with pytest.raises(MeshError, match=param) as refused:
            _ = [piece async for piece in client.generate(request_)]
        await client.close()

        assert (refused.value.code, refused.value.param) == (Code.UNSUPPORTED_PARAMETER, param)
        assert not engine.heard


async def test_stop_strings_are_cut_here_for_an_engine_that_knows_none() -> None:
    async with box(boxes.ODYSSAI_X) as engine:
        client = neighbour("odyssai", engine)
        pieces = [piece async for piece in client.generate(asked(stop=("two", "zero")))]
        await client.close()

        assert "".join(piece.text for piece in pieces) == "One, "
        assert pieces[-1].reason == "stop_sequence"
        assert "stop" not in engine.posted(CHAT)[0]


def test_what_might_have_become_a_stop_string_is_said_after_all() -> None:
    stops = Stops(["</end>"])

    assert [stops.through(text) for text in ("a</e", "x</", "en")] == ["a", "</ex", ""]
    assert (stops.rest(), stops.is_met) == ("</en", False)


async def test_a_request_that_came_from_a_mesh_goes_to_no_other() -> None:
    async with box(boxes.MESH) as engine:
        client = neighbour("mesh", engine)
        _ = [piece async for piece in client.generate(asked())]
        assert engine.headers[-1]["x-odyssai-hops"] == "1"

        before = len(engine.heard)
        vectors = Embed(request=RequestId("r"), model=ModelId("box:m"), inputs=(), hops=1)
        scores = Rerank(
            request=RequestId("r"), model=ModelId("box:m"), query="", documents=(), hops=1
        )
        for attempt in (
            anext(client.generate(asked(hops=1))), client.embed(vectors), client.rerank(scores),
        ):  # fmt: skip
            with pytest.raises(MeshError) as refused:
                await attempt
            assert refused.value.code is Code.LOOP
        await client.close()
        assert len(engine.heard) == before


async def test_who_is_back_is_asked_again_whatever_it_failed_at_before() -> None:
    async with box(dict(boxes.MLX_LM)) as engine:
        client = neighbour("mlx-lm", engine)
        listed = engine.answers.pop("/v1/models")
        with pytest.raises(MeshError):
            await client.catalog()
        for _ in range(9):
            client.breaker.fail("it was gone")
        assert client.breaker.circuit == "open"

        engine.answers["/v1/models"] = listed
        await client.catalog()

        assert client.breaker.circuit == "closed"
        await client.close()


async def test_one_order_to_load_is_under_way_however_often_it_is_given() -> None:
    may_end = asyncio.Event()

    async def held(_: Any) -> None:
        await may_end.wait()

    async with box(boxes.TELEMAK) as engine:
        client = neighbour("telemak", engine)
        loading = Loading()
        client.load = held  # type: ignore[method-assign]
        model = ModelId("m")

        phases = [(await loading.set(client, model, is_loaded=True)).phase for _ in range(2)]
        may_end.set()
        phases += [(await loading.set(client, model, is_loaded=True)).phase for _ in range(2)]

        assert phases == ["under way", "under way", "done", "done"]
        await client.close()


async def test_why_an_order_failed_is_told_once_and_then_it_is_tried_again() -> None:
    async with box({**boxes.TELEMAK, "/admin/load": None}) as engine:
        del engine.answers["/admin/load"]
        client = neighbour("telemak", engine)
        loading = Loading()
        for _ in range(2):
            with pytest.raises(MeshError, match="404"):
                await loading.set(client, ModelId("m"), is_loaded=True)

        assert len(engine.posted("/admin/load")) == 2
        await client.close()


async def test_an_engine_that_one_question_ends_answers_of_is_asked_for_its_models_once() -> None:
    async with box({**boxes.LLAMA_CPP_PYTHON}) as engine:
        client = neighbour("llama-cpp-python", engine)
        first, second = await client.catalog(), await client.catalog()
        assert first == second
        assert engine.got.count("/v1/models") == 1

        root, engine.answers = dict(engine.answers), {}
        engine.hangs_up = True
        with pytest.raises(MeshError):
            await client.catalog()
        engine.hangs_up, engine.answers = False, root
        await client.catalog()

        assert engine.got.count("/v1/models") == 2
        await client.close()


GIVEN_UP = (
    b'data: {"id": "chatcmpl-1", "model": "tiny", "object": "chat.completion.chunk", "choices": '
    b'[{"index": 0, "delta": {"content": "Calm"}, "logprobs": null, "finish_reason": null}]}'
    b"\n\ndata: [DONE]\n\n"
)
"""As llama-cpp-python ends a stream for whoever comes next."""


async def test_an_answer_that_the_engine_gave_up_is_no_answer() -> None:
    async with canned(GIVEN_UP, headers=("content-type: text/event-stream",)) as engine:
        upstream = Upstream(name="box", url=engine.url, kind="llama-cpp-python")
        client = Neighbour(upstream, KINDS["llama-cpp-python"]())
        with pytest.raises(MeshError, match="broke off"):
            _ = [piece async for piece in client.generate(asked())]
        await client.close()


async def test_a_recorded_answer_of_llama_cpp_python_is_read_to_its_end() -> None:
    recorded = (Path(__file__).parent / "recorded/llama-cpp-python-0.3.36.txt").read_bytes()
    async with canned(recorded, headers=("content-type: text/event-stream",)) as engine:
        upstream = Upstream(name="box", url=engine.url, kind="llama-cpp-python")
        client = Neighbour(upstream, KINDS["llama-cpp-python"]())
        pieces = [piece async for piece in client.generate(asked())]
        await client.close()

    assert "".join(piece.text for piece in pieces) == "lb"
    assert pieces[-1].reason == "length"
