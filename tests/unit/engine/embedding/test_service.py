"""An engine that reads, on a real bus: what it takes, refuses, lets go of and says."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus.connection import Bus
from proto.embedding import Embed, Rerank
from proto.errors import Code, MeshError
from proto.generation import Cancel, Generate
from proto.ids import EngineId, GatewayId, KeyId, ModelId, NodeId, RequestId, fresh
from proto.prompt import Chat, Text, Turn
from proto.subjects import CANCEL, COUNT_TOKENS, DETOKENIZE, EMBED, GENERATE, RERANK, TOKENIZE
from proto.tokenization import CountTokens, Detokenize, Tokenize
from services.host import Host
from services.runner.engine.embedding.service import ReadingEngine
from services.runner.engine.loading import locate
from services.runner.engine.presence.presence import Presence
from services.runner.engine.serving import drain
from services.runner.engine.settings import Settings
from tests import tiny_readers

MODEL = ModelId("m")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_readers.make_encoder(tmp_path_factory.mktemp("service") / "m", "bert", "mean")


class Gate:
    """Holds passes up until it is opened."""

    def __init__(self, engine: ReadingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open, self.reached = threading.Event(), threading.Event()
        reader = engine._loaded.reader
        read = reader.stages

        def stages(page, chunk):
            self.reached.set()
            assert self._open.wait(10)
            yield from read(page, chunk)

        monkeypatch.setattr(reader, "stages", stages)

    def open(self) -> None:
        self._open.set()

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 10)


class Serving:
    def __init__(self, bus: Bus, presence: Presence, engine: ReadingEngine) -> None:
        self.bus = bus
        self.presence = presence
        self.engine = engine
        self.id = presence.settings.engine

    async def embed(self, *texts: str, request: str = "r", **asked):
        question = Embed(
            request=RequestId(request),
            model=MODEL,
            inputs=tuple(Text(text=text) for text in texts),
            **asked,
        )
        return await self.bus.ask(EMBED, question, self.id, timeout_s=10)

    async def until_taken(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.engine._tasks) != count:
                await asyncio.sleep(0)


@asynccontextmanager
async def serving(nats_url: str, folder: Path, tmp_path: Path, **told) -> AsyncIterator[Serving]:
    settings = Settings(
        engine=EngineId(f"n.e-{fresh()}"), node=NodeId("n"), boot=fresh(), source=str(folder),
        slots=told.get("slots", 4), queue_limit=told.get("queue_limit", 4), cache_bytes=0,
        aliases={"nick": "m"},
    )  # fmt: skip
    async with (
        Bus.connect(nats_url, f"engine:{settings.engine}") as engine_bus,
        Bus.connect(nats_url, f"test:{fresh()}") as bus,
    ):
        host = Host(service="engine", id=settings.engine, bus=engine_bus, home=tmp_path)
        presence = Presence(host, settings)
        source = locate(str(folder), tmp_path)
        async with ReadingEngine.open(presence, source, "embedder") as engine:
            assert await engine.load()
            await engine.answer()
            await engine_bus.settled()
            presence.state = "ready"
            yield Serving(bus, presence, engine)


async def test_it_says_what_it_is_and_by_which_names(nats_url, folder, tmp_path):
    async with serving(nats_url, folder, tmp_path) as served:
        beat = served.presence._beat()

    (card,) = beat.models
    assert (card.id, card.kind, card.embedding_size) == ("m", "embedder", tiny_readers.HIDDEN)
    assert "nick" in card.aliases
    assert (beat.slots, beat.queue_limit, beat.running, beat.queued) == (4, 4, 0, 0)
    assert beat.steps > 0


async def test_one_too_many_is_refused_with_a_time_to_wait(nats_url, folder, tmp_path, monkeypatch):
    async with serving(nats_url, folder, tmp_path, slots=1, queue_limit=1) as served:
        gate = Gate(served.engine, monkeypatch)
        taken = [asyncio.create_task(served.embed("a", request=f"{n}")) for n in range(2)]
        await served.until_taken(2)
        beat = served.presence._beat()
        with pytest.raises(MeshError) as full:
            await served.embed("c", request="third")
        gate.open()
        answers = await asyncio.gather(*taken)

    assert (beat.running, beat.queued, beat.unread) == (1, 1, 2)
    assert full.value.code is Code.QUEUE_FULL
    assert full.value.retry_after_s
    assert answers[0].vectors == answers[1].vectors


async def test_a_flood_leaves_a_place_to_another_key(nats_url, folder, tmp_path, monkeypatch):
    async with serving(nats_url, folder, tmp_path, slots=1, queue_limit=8) as served:
        gate = Gate(served.engine, monkeypatch)
        flood = [
            asyncio.create_task(served.embed("a", request=f"{n}", key=KeyId("flood")))
            for n in range(8)
        ]
        await served.until_taken(8)
        await gate.until_reached()
        with pytest.raises(MeshError, match="of your key"):
            await served.embed("b", request="eighth to wait", key=KeyId("flood"))
        other = asyncio.create_task(served.embed("c", request="other", key=KeyId("other")))
        await served.until_taken(9)
        gate.open()
        await asyncio.gather(*flood, other)


async def test_a_withdrawn_question_leaves_its_place(nats_url, folder, tmp_path, monkeypatch):
    async with serving(nats_url, folder, tmp_path, slots=1, queue_limit=1) as served:
        gate = Gate(served.engine, monkeypatch)
        first = asyncio.create_task(served.embed("a", request="first"))
        await gate.until_reached()
        gone = asyncio.create_task(served.embed("b", request="gone"))
        await served.until_taken(2)
        await served.bus.publish(CANCEL, Cancel(request=RequestId("gone")), served.id)
        await served.until_taken(1)
        gone.cancel()
        gate.open()

        assert (await first).tokens
        assert (await served.embed("c", request="next")).tokens


async def test_a_deadline_that_has_passed_is_told(nats_url, folder, tmp_path):
    async with serving(nats_url, folder, tmp_path) as served:
        with pytest.raises(MeshError) as late:
            await served.embed("a", left_s=0.0)

    assert late.value.code is Code.DEADLINE


async def test_what_still_runs_at_the_end_is_sent_elsewhere(
    nats_url, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("services.runner.engine.serving.DRAIN_S", 0.0)
    async with serving(nats_url, folder, tmp_path) as served:
        gate = Gate(served.engine, monkeypatch)
        asking = asyncio.create_task(served.embed("a"))
        await gate.until_reached()
        served.presence.state = "draining"
        await drain(served.engine, served.presence.activity)
        with pytest.raises(MeshError) as lost:
            await asking
        with pytest.raises(MeshError) as closed:
            await served.embed("b")
        gate.open()

    assert lost.value.code is Code.ENGINE_LOST
    assert closed.value.code is Code.NO_ENGINE


async def test_it_neither_ranks_nor_generates_but_says_what_it_is(nats_url, folder, tmp_path):
    rank = Rerank(request=RequestId("r"), model=MODEL, query="q", documents=("a",))
    generate = Generate(
        request=RequestId("g"), gateway=GatewayId("x"), model=MODEL, prompt=Text(text="a")
    )
    async with serving(nats_url, folder, tmp_path) as served:
        with pytest.raises(MeshError, match="no reranker") as ranked:
            await served.bus.ask(RERANK, rank, served.id)
        with pytest.raises(MeshError, match="/v1/embeddings") as generated:
            await served.bus.ask(GENERATE, generate, served.id)

    assert {ranked.value.code, generated.value.code} == {Code.INVALID_REQUEST}
    assert generated.value.param == "model"


async def test_its_tokens_are_told_and_read_back(nats_url, folder, tmp_path):
    prompt = Text(text="the sea")
    chat = Chat(turns=(Turn(role="user", content="x"),))
    async with serving(nats_url, folder, tmp_path) as served:
        bus, id = served.bus, served.id
        counted = await bus.ask(COUNT_TOKENS, CountTokens(model=MODEL, prompt=prompt), id)
        found = await bus.ask(TOKENIZE, Tokenize(model=MODEL, prompt=prompt), id)
        bare = await bus.ask(
            TOKENIZE, Tokenize(model=MODEL, prompt=prompt, with_specials=False), id
        )
        back = await bus.ask(DETOKENIZE, Detokenize(model=MODEL, tokens=bare.tokens), id)
        with pytest.raises(MeshError, match="no chat template"):
            await bus.ask(COUNT_TOKENS, CountTokens(model=MODEL, prompt=chat), id)

    assert counted.tokens == len(found.tokens) == len(bare.tokens) + 2
    assert len(found.pieces) == len(found.tokens)
    assert back.text == "the sea"


async def test_inputs_beyond_what_it_reads_are_named_by_their_place(nats_url, folder, tmp_path):
    long = "word " * 60
    async with serving(nats_url, folder, tmp_path) as served:
        with pytest.raises(MeshError, match=r"input\[41\].* 66 at most") as refused:
            await served.embed("a", long, first=40)
        cut = await served.embed("a", long, truncate=True)
        shorter = await served.embed("a", dimensions=3)

    assert (refused.value.code, refused.value.param) == (Code.CONTEXT_OVERFLOW, "input")
    assert len(cut.vectors) == 2
    assert len(shorter.vectors[0]) == 3 * 4
    assert cut.tokens == 3 + 66
