"""What a gateway adds to a cloud provider: ours, LiteLLM's proxy and SMG, each before the same one.

Sides take turns in every round; provider, gateway and clients share the machine's cores.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import cast

import uvloop

from ops import probe
from ops.bench._children import Running, free_port, running
from ops.bench._mesh import mesh
from ops.bench._peers import environment_for
from ops.bench._report import Report, paired, parser, percentile, say
from ops.bench._vendor import MODEL

HOST = "127.0.0.1"
START_S = 120.0
LITELLM, SMG = "litellm", "smg"
NOTE = "The provider on loopback, one worker of each gateway, and the clients share the cores."


@dataclass(frozen=True)
class Extent:
    rounds: int
    clients: tuple[int, ...] = (1, 32, 128)
    window_s: float = 3.0
    peers: tuple[str, ...] = (LITELLM, SMG)


QUICK = Extent(1, clients=(1, 4), window_s=0.3, peers=())


@dataclass(frozen=True)
class Side:
    """Who is asked, for which model."""

    name: str
    port: int
    model: str
    key: str = ""

    def question(self, *, stream: bool) -> bytes:
        turns = [{"role": "user", "content": "How is the sea today, and how will it be?"}]
        asked = {"model": self.model, "messages": turns, "stream": stream}
        body = json.dumps(asked).encode()
        key = f"authorization: Bearer {self.key}\r\n" if self.key else ""
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}:{self.port}\r\n{key}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Client(asyncio.Protocol):
    """One connection, one question at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, question: bytes) -> asyncio.Future[bytes]:
        """The whole answer, head and all."""
        self._held: list[bytes] = []
        self._size = 0
        self._ends_at: int | None = None
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._transport.write(question)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)
        if len(self._held) == 1:
            self._ends_at = _length(data)
        is_over = data.endswith(b"0\r\n\r\n") if self._ends_at is None else self._is_long_enough()
        if is_over and not self._answer.done():
            self._answer.set_result(b"".join(self._held))

    def _is_long_enough(self) -> bool:
        return self._ends_at is not None and self._size >= self._ends_at

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server hung up"))

    def close(self) -> None:
        self._transport.close()


def _length(beginning: bytes) -> int | None:
    """Bytes of an answer that says so; None: it comes in chunks."""
    head, end, _ = beginning.partition(b"\r\n\r\n")
    at = head.lower().find(b"content-length:")
    if not end or at < 0:
        return None
    return len(head) + 4 + int(head[at + 15 :].split(b"\r\n")[0])


@dataclass
class Seen:
    """Of one side, by round."""

    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    requests_s: list[float] = field(default_factory=list)
    events_s: list[float] = field(default_factory=list)


def main(argv: Sequence[str]) -> int:
    arguments = parser("cloud", "What a gateway adds to a cloud provider.", 3)
    args = arguments.parse_args(argv)
    report = uvloop.run(measure(QUICK if args.quick else Extent(args.rounds)))
    return report.close(as_json=args.json)


async def measure(extent: Extent) -> Report:
    report = Report("cloud", [NOTE])
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="odyssai-bench-")))
        vendor = await stack.enter_async_context(_vendor(folder))
        others = [_ours(vendor), *(_PEERS[name](vendor, folder) for name in extent.peers)]
        sides = [vendor, *[await stack.enter_async_context(other) for other in others]]
        seen: dict[tuple[bool, int, str], Seen] = defaultdict(Seen)
        for turn in range(-1, extent.rounds):
            for stream in (False, True):
                for clients in extent.clients:
                    say(f"cloud: round {turn + 1}, {clients} clients, stream {stream}")
                    for side in sides:
                        run = await _run(side, clients, extent.window_s, stream=stream)
                        # The first turn warms up.
                        if turn >= 0:
                            _note(seen[stream, clients, side.name], run)
    for stream in (False, True):
        for clients in extent.clients:
            by_side = {side.name: seen[stream, clients, side.name] for side in sides}
            _tell(report, f"{'stream' if stream else 'whole'} × {clients}", by_side)
    return report


@dataclass(frozen=True)
class Run:
    took_ms: list[float]
    span_s: float
    events: int


async def _run(side: Side, clients: int, window_s: float, *, stream: bool) -> Run:
    question = side.question(stream=stream)
    took_ms: list[float] = []
    events = 0
    loop = asyncio.get_running_loop()

    async def keep_asking() -> None:
        nonlocal events
        _, client = await loop.create_connection(Client, HOST, side.port)
        while time.monotonic() < ends_at:
            asked_at = time.perf_counter()
            answer = await client.ask(question)
            took_ms.append(1e3 * (time.perf_counter() - asked_at))
            if b" 200 " not in answer[:16]:
                raise RuntimeError(f"{side.name} answered {answer[:500]!r}")
            events += answer.count(b"data: ")
        client.close()

    began = time.monotonic()
    ends_at = began + window_s
    await asyncio.gather(*(keep_asking() for _ in range(clients)))
    return Run(took_ms, time.monotonic() - began, events)


def _note(seen: Seen, run: Run) -> None:
    seen.p50_ms.append(percentile(run.took_ms, 0.5))
    seen.p99_ms.append(percentile(run.took_ms, 0.99))
    seen.requests_s.append(len(run.took_ms) / run.span_s)
    seen.events_s.append(run.events / run.span_s)


def _tell(report: Report, name: str, seen: dict[str, Seen]) -> None:
    direct, ours = seen["direct"], seen["odyssai"]
    for side, figures in seen.items():
        report.add(f"{name}: {side}", median(figures.requests_s), "requests/s")
        if side != "direct":
            report.add(f"{name}: {side} adds, p50", _added(figures.p50_ms, direct.p50_ms), "ms")
            report.add(f"{name}: {side} adds, p99", _added(figures.p99_ms, direct.p99_ms), "ms")
        if figures.events_s[0]:
            report.add(f"{name}: {side}", median(figures.events_s), "events/s")
    for peer, most in ((LITELLM, 0.15), (SMG, 3.0)):
        if peer in seen:
            ratio = _added(ours.p50_ms, direct.p50_ms) / _added(seen[peer].p50_ms, direct.p50_ms)
            report.add(f"{name}: added p50 ÷ {peer}", ratio, at_most=most)
    if LITELLM in seen:
        rates = paired(ours.requests_s, seen[LITELLM].requests_s)
        report.add(f"{name}: requests/s ÷ {LITELLM}", rates, at_least=10)
        if ours.events_s[0]:
            events = paired(ours.events_s, seen[LITELLM].events_s)
            report.add(f"{name}: events/s ÷ {LITELLM}", events, at_least=10)


def _added(side: list[float], direct: list[float]) -> float:
    return median(a - b for a, b in zip(side, direct, strict=True))


@asynccontextmanager
async def _vendor(folder: Path) -> AsyncIterator[Side]:
    port = free_port()
    argv = (sys.executable, "-m", "ops.bench._vendor", str(port))
    async with running(argv, folder / "vendor.log", {}) as program:
        await _until_there(program, port, "/v1/models")
        yield Side("direct", port, MODEL)


@asynccontextmanager
async def _ours(vendor: Side) -> AsyncIterator[Side]:
    told = {"ODYSSAI_UPSTREAMS": f"vendor=http://{HOST}:{vendor.port}/v1"}
    async with mesh(told=told, more=("cloud",)) as mesh_:
        server = await mesh_.server()
        yield Side("odyssai", server.port, server.model)


@asynccontextmanager
async def _litellm(vendor: Side, folder: Path) -> AsyncIterator[Side]:
    place = environment_for(LITELLM, ("litellm[proxy]", "websockets"))
    config = folder / "litellm.yaml"
    told = {"model": f"openai/{MODEL}", "api_base": f"http://{HOST}:{vendor.port}/v1"}
    models = [{"model_name": MODEL, "litellm_params": told | {"api_key": "none"}}]
    config.write_text(json.dumps({"model_list": models}))
    port = free_port()
    argv = (str(place / "bin" / "litellm"), "--config", str(config), "--host", HOST)
    log, key = folder / "litellm.log", "sk-bench"
    told = {"LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": key}
    async with running((*argv, "--port", str(port)), log, told) as program:
        await _until_there(program, port, "/health/liveliness")
        yield Side(LITELLM, port, MODEL, key)


@asynccontextmanager
async def _smg(vendor: Side, folder: Path) -> AsyncIterator[Side]:
    place = environment_for(SMG, ("smg",))
    port = free_port()
    worker = f"http://{HOST}:{vendor.port}"
    argv = (str(place / "bin" / "smg"), "launch", "--backend", "openai", "--log-level", "error")
    where = ("--worker-urls", worker, "--host", HOST, "--port", str(port))
    async with running((*argv, *where), folder / "smg.log", {}) as program:
        await _until_there(program, port, "/health")
        yield Side(SMG, port, MODEL)


_PEERS = {LITELLM: _litellm, SMG: _smg}


async def _until_there(program: Running, port: int, path: str) -> None:
    async def is_there() -> bool:
        return (await probe.fetch(HOST, port, path))[0] == 200

    await program.until(is_there, START_S)
