"""Clients that talk all the time, so many at once, and check every word."""

import asyncio
import random
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import get_args

from ops.bench._chaos.attempt import Attempt
from ops.bench._chaos.client import Door, Manner
from ops.bench._chaos.ledger import Cost, Ledger
from ops.bench._chaos.rehearsal import Exchange
from proto.ids import fresh

PATIENCE_S = 45.0
"""An exchange that is still to be asked again so long after its first failure has failed."""
LEAVERS = 0.04
"""Of all streams: clients that hang up in the middle, as clients do."""
AT_ONCE = Manner()
FINAL = "key revoked"
"""The one cost that is not asked for again."""


class Load:
    """Every client has a talk, and then the next."""

    def __init__(
        self, door: Door, talks: list[list[Exchange]], ledger: Ledger, seed: int, pause_s: float
    ) -> None:
        """``pause_s``: what a client thinks before its next talk, on the average."""
        self._door = door
        self._talks = talks
        self._ledger = ledger
        self._rng = random.Random(seed)
        self._pause_s = pause_s
        self._next = 0

    async def run(self, streams: int, over: asyncio.Event) -> None:
        """Until it is over; talks that were begun are had to their end."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(streams):
                tasks.create_task(self._client(number, over))

    async def _client(self, number: int, over: asyncio.Event) -> None:
        rng = random.Random(f"{self._rng.random()}-{number}")
        await asyncio.sleep(rng.random())
        while not over.is_set():
            is_leaving = rng.random() < LEAVERS
            manner = Manner(leaves_after=rng.randint(1, 60)) if is_leaving else AT_ONCE
            await self.talk(self._turn(), manner)
            await asyncio.sleep(rng.expovariate(1 / self._pause_s))

    def _turn(self) -> list[Exchange]:
        self._next += 1
        return self._talks[self._next % len(self._talks)]

    async def crowd(self, size: int, manner: Manner) -> None:
        """So many more at once, who all behave the same."""
        await asyncio.gather(*(self.talk(self._turn(), manner) for _ in range(size)))

    async def talk(self, exchanges: Iterable[Exchange], manner: Manner) -> None:
        previous = ""
        for exchange in exchanges:
            headers = dict(exchange.headers)
            if exchange.is_repeatable:
                headers["Idempotency-Key"] = fresh()
            answer = await self._until_answered(exchange, manner, headers, previous)
            if answer and exchange.is_repeatable:
                # Whoever asks again under the key gets the very answer.
                answer = await self._until_answered(exchange, manner, headers, previous, answer)
            if not answer:
                return
            previous = answer

    async def _until_answered(
        self,
        exchange: Exchange,
        manner: Manner,
        headers: dict[str, str],
        previous: str,
        before: str = "",
    ) -> str:
        """The id of the answer; empty when the talk is over, for whatever reason."""
        failed_at = 0.0
        while True:
            attempt = Attempt(exchange, manner, before)
            outcome = await attempt.make(self._door, headers, previous)
            self._ledger.note(outcome)
            if outcome.kind == "whole":
                return attempt.answer
            if outcome.kind == FINAL or outcome.kind not in get_args(Cost):
                return ""
            failed_at = failed_at or outcome.ended
            if time.monotonic() - failed_at > PATIENCE_S:
                what = f"for {PATIENCE_S:g} s; last: {outcome.what}"
                self._ledger.note(replace(outcome, kind="failed", what=what))
                return ""
            await asyncio.sleep(attempt.again_s)
