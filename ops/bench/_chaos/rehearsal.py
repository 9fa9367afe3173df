"""The undisturbed run: every talk once, which tells what each exchange has to say."""

import asyncio
from dataclasses import dataclass
from typing import Any

from ops.bench._chaos.answer import Answer, Broken, Dialect, Failure
from ops.bench._chaos.checker import Expected, Recorder
from ops.bench._chaos.client import Connection, Door, Manner, ask, encoded
from ops.bench._chaos.reading import PATHS, READINGS
from ops.bench._chaos.talks import Talk, Turn
from ops.bench._children import NotStarted

SIDE_BY_SIDE = 4
_PATIENT = Manner()


@dataclass(frozen=True)
class Exchange:
    """A turn whose bytes and answer are known."""

    name: str
    dialect: Dialect
    body: dict[str, Any]
    headers: dict[str, str]
    expected: Expected
    follows: bool
    is_repeatable: bool
    is_upstream: bool

    @property
    def is_streamed(self) -> bool:
        return bool(self.body["stream"])

    @property
    def path(self) -> str:
        return PATHS[self.dialect]

    def content(self, previous: str) -> bytes:
        """``previous`` is the id of the response before it."""
        return encoded(
            {**self.body, "previous_response_id": previous} if self.follows else self.body
        )


async def rehearse(door: Door, talks: list[Talk]) -> list[list[Exchange]]:
    """Raises NotStarted: an undisturbed mesh answers."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def have(talk: Talk) -> list[Exchange]:
        async with gate:
            return await _rehearse(door, talk)

    return await asyncio.gather(*(have(talk) for talk in talks))


async def _rehearse(door: Door, talk: Talk) -> list[Exchange]:
    exchanges: list[Exchange] = []
    answers: list[Answer] = []
    for place, turn in enumerate(talk.turns):
        exchange = await _exchange(door, f"{talk.name}.{place}", talk, turn, answers)
        exchanges.append(exchange)
        answers.append(exchange.expected.answer)
    return exchanges


async def _exchange(
    door: Door, name: str, talk: Talk, turn: Turn, answers: list[Answer]
) -> Exchange:
    recorder = Recorder()
    reading = READINGS[turn.dialect](recorder.hear)
    body = turn.make(answers)
    sent = {**body, "previous_response_id": answers[-1].id} if turn.follows else body
    async with Connection.open(door) as connection:
        path = PATHS[turn.dialect]
        try:
            await ask(connection, path, encoded(sent), turn.headers, reading, _PATIENT)
        except (Failure, Broken) as error:
            raise NotStarted(f"{name} failed before anything was broken: {error}") from error
    return Exchange(
        name=name,
        dialect=turn.dialect,
        body=body,
        headers=turn.headers,
        expected=recorder.expected(reading.answer),
        follows=turn.follows,
        is_repeatable=turn.is_repeatable,
        is_upstream=talk.is_upstream,
    )
