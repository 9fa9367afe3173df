"""Whatever an upstream sends as its answer: pieces of one, or a typed error."""

import asyncio

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proto.errors import MeshError
from proto.generation import Generate, Verbatim
from proto.ids import GatewayId, ModelId, RequestId
from proto.prompt import Text
from proto.subjects import STREAM
from services.cloud.frames import Frames
from services.cloud.openai import responses
from services.cloud.openai.client import OpenAI
from services.cloud.openai.passing import ENDPOINTS
from services.cloud.openai.vectors import embedded, reranked
from services.cloud.settings import Upstream
from tests.unit.cloud.canned import canned

ASKED = Generate(
    request=RequestId("r"), gateway=GatewayId("g"), model=ModelId("up:m"), prompt=Text(text="x")
)
FIELDS = (
    "choices", "delta", "content", "text", "tool_calls", "function", "name", "arguments", "index",
    "finish_reason", "logprobs", "token", "logprob", "bytes", "top_logprobs", "usage", "error",
    "prompt_tokens", "prompt_tokens_details", "cached_tokens", "data", "embedding", "results",
    "type", "response", "input_tokens", "output_tokens", "incomplete_details", "reason", "message",
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
    ),
    max_leaves=16,
)
CHOICE = st.fixed_dictionaries({"choices": st.lists(VALUES, min_size=1, max_size=2)})
EVENT = (VALUES | CHOICE).map(lambda value: b"data: " + msgspec.json.encode(value) + b"\n\n")
LINE = (
    EVENT
    | st.binary(max_size=40)
    | st.sampled_from([b"data:\n\n", b": x\n\n", b"data: [DONE]\n\n"])
)


async def answer(body: bytes, status: int, asked: Generate = ASKED, kind: str = "") -> list[bytes]:
    """The frames that come of it, as they go over the bus."""
    frames = Frames(asked)
    sent = []
    async with canned(body, status, (f"content-type: {kind or 'text/plain'}",)) as server:
        client = OpenAI(Upstream(name="up", url=server.url, kind="openai", keys=("k",)))
        answers = client.generate(asked) if asked.verbatim is None else client.forward(asked)
        try:
            async for piece in answers:
                sent += frames.of(piece)
            sent.append(frames.ended())
        except MeshError as error:
            sent.append(frames.failed(error))
        finally:
            await client.close()
    return [STREAM.encode(frame) for frame in sent]


@given(lines=st.lists(LINE, max_size=6), status=st.sampled_from([200, 200, 200, 400, 429, 503]))
def test_a_stream_becomes_frames_that_a_gateway_reads(lines, status):
    for body in asyncio.run(answer(b"".join(lines), status)):
        STREAM.decode(body)


@given(
    lines=st.lists(LINE, max_size=6),
    endpoint=st.sampled_from([*ENDPOINTS, responses.ENDPOINT]),
    method=st.sampled_from(["POST", "GET", "DELETE"]),
    kind=st.sampled_from(["text/event-stream", "application/json"]),
)
def test_so_does_one_that_goes_on_word_for_word(lines, endpoint, method, kind):
    verbatim = Verbatim(endpoint=endpoint, method=method, body=b'{"stream":true}')
    asked = msgspec.structs.replace(ASKED, verbatim=verbatim)
    for body in asyncio.run(answer(b"".join(lines), 200, asked, kind)):
        STREAM.decode(body)


@given(said=VALUES)
def test_vectors_and_scores_are_that_or_unreadable(said):
    for read in (embedded, reranked):
        try:
            read(said)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue
