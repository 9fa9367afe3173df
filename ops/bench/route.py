"""Replicas of a model, asked by several tenants' users: our scheduler against round robin.

Both sides answer the same conversations at the same times, each with engines of its own whose
caches are empty at first and too small for everything.
"""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import uvloop

from ops.bench._bus import bus_server
from ops.bench._conversations import Conversation, Extent, conversations
from ops.bench._models import tiny
from ops.bench._replicas import Answer, Caller, replicas, scheduler
from ops.bench._report import Report, parser, percentile, say
from proto.ids import EngineId, ModelId, SessionId
from proto.placement import Schedule
from proto.prefix import prefixes_of
from proto.prompt import Chat, Turn
from proto.subjects import SCHEDULE

AIM_CACHED, AIM_FIRST = 2.0, 0.6
TOKEN_BYTES = 512
"""Of the tiny model's KV cache: keys and values of two heads of 16 float32 in two layers."""


@dataclass(frozen=True)
class Trial:
    replicas: int
    cache_tokens: int
    """Of one engine: so few that all of them together hold what is said at one time, and none of
    them does.
    """
    said: Extent


FULL = Trial(
    replicas=4,
    cache_tokens=9_500,
    said=Extent(
        tenants=24,
        sessions=48,
        turns=5,
        system_words=400,
        question_words=25,
        answer_tokens=24,
        gap_s=0.9,
        pause_s=2.0,
    ),
)
QUICK = Trial(
    replicas=2,
    cache_tokens=2_000,
    said=Extent(
        tenants=2,
        sessions=4,
        turns=2,
        system_words=100,
        question_words=5,
        answer_tokens=2,
        gap_s=0.05,
        pause_s=0.05,
    ),
)

Choose = Callable[[Schedule], Awaitable[EngineId]]
"""Who is asked; the scheduler's way or another."""


@dataclass(frozen=True)
class Side:
    answers: list[Answer]

    @property
    def cached(self) -> int:
        return sum(answer.cached_tokens for answer in self.answers)

    @property
    def share(self) -> float:
        return self.cached / sum(answer.prompt_tokens for answer in self.answers)

    @property
    def first_ms(self) -> list[float]:
        return [1e3 * answer.first_s for answer in self.answers]


def main(argv: Sequence[str]) -> int:
    arguments = parser("route", "Cached tokens and first tokens against round robin.", 1)
    args = arguments.parse_args(argv)
    trial = QUICK if args.quick else FULL
    said = trial.said
    report = Report(
        "route",
        [
            f"{said.sessions} conversations of {said.turns} questions, {said.tenants} system "
            f"prompts, {trial.replicas} engines that cache {trial.cache_tokens:,} tokens each.",
            "Engines, scheduler, bus and client share the cores below.",
        ],
    )
    for seed in range(1, args.rounds + 1):
        uvloop.run(measure(report, trial, seed))
    return report.close(as_json=args.json)


async def measure(report: Report, trial: Trial, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="odyssai-bench-") as folder:
        home = Path(folder)
        model = tiny(home)
        async with bus_server(home / "home") as url, scheduler(url, home):
            sides = {
                name: await _side(name, url, home, model, trial, seed)
                for name in ("scheduler", "round robin")
            }
    _tell(report, sides["scheduler"], sides["round robin"])


async def _side(name: str, url: str, home: Path, model: Path, trial: Trial, seed: int) -> Side:
    names = [f"{name.replace(' ', '-')}-{number}" for number in range(trial.replicas)]
    cache_bytes = trial.cache_tokens * TOKEN_BYTES
    async with (
        Caller.connect(url, ModelId(model.name), names) as caller,
        replicas(url, home, model, names, cache_bytes),
    ):
        engines = await caller.holders(trial.replicas)
        await _warm(caller, engines)
        choose = _scheduled(caller) if name == "scheduler" else _in_turn(engines)
        async with asyncio.TaskGroup() as tasks:
            talks = [
                tasks.create_task(_talk(caller, choose, each, trial.said.answer_tokens))
                for each in conversations(trial.said, seed)
            ]
    side = Side([answer for talk in talks for answer in talk.result()])
    say(f"route: {name}: {mean(side.first_ms):.0f} ms, {side.share:.0%} of the prompts cached")
    return side


def _scheduled(caller: Caller) -> Choose:
    async def choose(question: Schedule) -> EngineId:
        return (await caller.bus.ask(SCHEDULE, question)).candidates[0].engine

    return choose


def _in_turn(engines: list[EngineId]) -> Choose:
    turns = itertools.cycle(engines)

    async def choose(_: Schedule) -> EngineId:
        return next(turns)

    return choose


async def _warm(caller: Caller, engines: list[EngineId]) -> None:
    """Nobody's first request is slower than the others'."""
    chat = Chat(turns=(Turn(role="user", content="warm " * 100),))
    for engine in engines:
        await caller.ask(engine, chat, SessionId("warm"), 2, time.monotonic())


async def _talk(
    caller: Caller, choose: Choose, said: Conversation, answer_tokens: int
) -> list[Answer]:
    """One conversation, from its beginning on; each answer is part of the next question."""
    await asyncio.sleep(said.starts_s)
    session = SessionId(said.session)
    turns = [Turn(role="system", content=said.system)]
    answers: list[Answer] = []
    for question in said.questions:
        await asyncio.sleep(question.after_s)
        turns.append(Turn(role="user", content=question.words))
        chat, asked_at = Chat(turns=tuple(turns)), time.monotonic()
        schedule = Schedule(
            model=caller.model,
            prompt_bytes=chat.chars,
            prefix=prefixes_of(chat),
            session=session,
        )
        engine = await choose(schedule)
        answers.append(await caller.ask(engine, chat, session, answer_tokens, asked_at))
        turns.append(Turn(role="assistant", content=answers[-1].text))
    return answers


def _tell(report: Report, ours: Side, theirs: Side) -> None:
    report.add("cached tokens", ours.cached / max(theirs.cached, 1), at_least=AIM_CACHED)
    first = mean(ours.first_ms) / mean(theirs.first_ms)
    report.add("mean time to first token", first, at_most=AIM_FIRST)
    for name, side in (("scheduler", ours), ("round robin", theirs)):
        report.add(f"{name}: cached", side.cached, "tokens")
        report.add(f"{name}: cached of all prompts", 100 * side.share, "%")
        report.add(f"{name}: first token, mean", mean(side.first_ms), "ms")
        report.add(f"{name}: first token, p50", percentile(side.first_ms, 0.5), "ms")
        report.add(f"{name}: first token, p99", percentile(side.first_ms, 0.99), "ms")
