"""An engine without a model: it publishes ready-made tokens at the pace a request asks for.

``python -m ops.bench._scripted`` on a mesh's bus. A request's last message says how many tokens a
second it wants, 0 for all at once; ``max_tokens`` how many. Every text begins with the unix time
in microseconds at which it was published.
"""

import asyncio
import heapq
import os
import time

from bus.presence import beat, farewell
from bus.sink import TokenSink, answer_replays
from proto.frames import AnyFrame, Delta, End, Progress, Timings, Usage
from proto.generation import Accepted, Cancel, Generate
from proto.ids import EngineId, ModelId, NodeId, RequestId
from proto.presence import EngineBeat, Gone, ModelCard
from proto.prompt import Chat
from proto.subjects import CANCEL, ENGINE_BEAT, GENERATE
from services import host
from services.host import Host

ENGINE = EngineId("bench.scripted")
TOGETHER = 16
"""Streams that get their tokens in one step, as those of one engine's batch do."""
SLOTS = 100_000
NO_TIME = Timings(queued_s=0.0, prefill_s=0.0, decode_s=0.0)


class Script:
    """One stream: what is still to be said, and how fast."""

    def __init__(self, asked: Generate, period_s: float) -> None:
        self.request = asked.request
        self.epoch = asked.epoch
        self.total = asked.max_tokens or 1
        self.period_s = period_s
        self.said = 0

    @property
    def is_over(self) -> bool:
        return self.said >= self.total

    def frames(self, count: int) -> list[tuple[RequestId, AnyFrame]]:
        """The next tokens, and the end behind the last."""
        stamp = f"{time.time_ns() // 1000:016d} "
        out: list[tuple[RequestId, AnyFrame]] = []
        for _ in range(min(count, self.total - self.said)):
            self.said += 1
            out.append((self.request, Delta(self.epoch, self.said, stamp, (self.said,))))
        if self.is_over:
            usage = Usage(1, self.total, 0)
            out.append((self.request, End(self.epoch, self.said + 1, "length", usage, NO_TIME)))
        return out


class Scripted:
    def __init__(self, sink: TokenSink) -> None:
        self._sink = sink
        self._due: list[tuple[float, int, list[Script]]] = []
        self._groups: dict[float, list[Script]] = {}
        """The group of each pace that still has room."""
        self._open: dict[RequestId, Script] = {}
        self._count = 0

    async def generate(self, asked: Generate) -> Accepted:
        pace = _pace(asked)
        script = Script(asked, 1 / pace if pace else 0.0)
        self._sink.open(asked.request, asked.gateway)
        self._sink.send([(asked.request, Progress(asked.epoch, 0, 1, 1, 0))])
        if not pace:
            # After the acceptance, as a model's first token comes.
            asyncio.get_running_loop().call_soon(
                lambda: self._sink.send(script.frames(script.total))
            )
        else:
            self._open[asked.request] = script
            self._join(script)
        return Accepted(prompt_tokens=1)

    def _join(self, script: Script) -> None:
        group = self._groups.get(script.period_s)
        if group is None or len(group) >= TOGETHER:
            group = self._groups[script.period_s] = []
            self._count += 1
            # Spread over the period, as the steps of independent engines are.
            phase = (self._count * 0.618) % 1 * script.period_s
            heapq.heappush(self._due, (time.monotonic() + phase, self._count, group))
        group.append(script)

    def cancel(self, cancel: Cancel) -> None:
        script = self._open.pop(cancel.request, None)
        if script is not None:
            script.said = script.total

    async def run(self) -> None:
        """Take every group's step when it is due; none is skipped, however late."""
        while True:
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._step()
            wait_s = self._due[0][0] - now if self._due else 0.01
            await asyncio.sleep(min(max(wait_s, 0.0), 0.01))

    def _step(self) -> None:
        at, number, group = heapq.heappop(self._due)
        group[:] = [script for script in group if not script.is_over]
        if not group:
            self._groups = {pace: each for pace, each in self._groups.items() if each is not group}
            return
        period_s = group[0].period_s
        self._sink.send([frame for script in group for frame in script.frames(1)])
        heapq.heappush(self._due, (at + period_s, number, group))

    @property
    def running(self) -> int:
        return sum(len(group) for _, _, group in self._due)


def _pace(asked: Generate) -> float:
    assert isinstance(asked.prompt, Chat), "the benchmark asks in chats"
    return float(asked.prompt.turns[-1].text)


async def serve(host: Host) -> None:
    async with TokenSink.connect(host.bus.url, ENGINE) as sink:
        engine = Scripted(sink)
        card = ModelCard(id=ModelId("scripted"), context_length=1 << 20)

        def describe() -> EngineBeat:
            return EngineBeat(
                engine=ENGINE,
                node=NodeId("bench"),
                boot=host.boot,
                pid=os.getpid(),
                state="ready",
                models=(card,),
                slots=SLOTS,
                running=engine.running,
            )

        await host.bus.answer(GENERATE, engine.generate, ENGINE)
        await host.bus.listen(CANCEL, engine.cancel, ENGINE)
        await answer_replays(host.bus, sink, ENGINE)
        async with asyncio.TaskGroup() as tasks:
            living = [
                tasks.create_task(beat(host.bus, ENGINE, (ENGINE_BEAT,), describe)),
                tasks.create_task(engine.run()),
            ]
            await host.stopping.wait()
            for task in living:
                task.cancel()
        await farewell(host.bus, Gone(kind="engine", id=ENGINE, boot=host.boot, why="stopped"))


if __name__ == "__main__":
    host.run("engine", serve, id=ENGINE)
