"""Clients that talk all the time, so many at once, and check every word."""

import asyncio
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ops.bench._chaos.answer import Broken, Failure
from ops.bench._chaos.checker import Checker, Deviation
from ops.bench._chaos.client import Connection, Door, Left, Manner, ask
from ops.bench._chaos.ledger import Kind, Ledger, Outcome
from ops.bench._chaos.reading import READINGS, Reading
from ops.bench._chaos.rehearsal import Exchange
from proto.ids import fresh

AGAIN_S = 0.25
"""Before an exchange is asked again whose gateway was lost."""
PATIENCE_S = 45.0
"""An exchange that is still to be asked again so long after its first failure has failed."""
WHOLE_S = 90.0
"""Far longer than any answer takes, with all that may happen to it."""
LEAVERS = 0.04
"""Of all streams: clients that hang up in the middle, as clients do."""
AT_ONCE = Manner()
RETRIED = ("gateway lost", "gateway stopped", "refused", "upstream lost")
REVOKED = "revoked"
"""What the error says that an answer ends with whose key was taken back."""
STOPPING = "gateway is stopping"
"""How a gateway says that it can no longer finish an answer."""


@dataclass
class _Pace:
    """When pieces came."""

    began: float
    first: float | None = None
    last: float = 0.0
    stall_s: float = 0.0

    def beat(self) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = now
        else:
            self.stall_s = max(self.stall_s, now - self.last)
        self.last = now


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
            answered = await self._until_answered(exchange, manner, previous)
            if answered is None:
                return
            previous = answered

    async def _until_answered(
        self, exchange: Exchange, manner: Manner, previous: str
    ) -> str | None:
        """The id of the answer; None when the talk is over, for whatever reason."""
        headers = dict(exchange.headers)
        if exchange.is_repeatable:
            headers["Idempotency-Key"] = fresh()
        failed_at, answered = 0.0, ""
        while True:
            outcome, again_s = await self._attempt(exchange, manner, headers, previous, answered)
            if outcome.kind not in RETRIED:
                if outcome.kind == "whole" and exchange.is_repeatable and not answered:
                    answered = outcome.request
                    continue  # Whoever asks again under its key gets the very answer.
                return outcome.request if outcome.kind == "whole" else None
            failed_at = failed_at or outcome.ended
            if time.monotonic() - failed_at > PATIENCE_S:
                self._note(outcome, "failed", f"for {PATIENCE_S:g} s; last: {outcome.what}")
                return None
            await asyncio.sleep(again_s)

    def _note(self, outcome: Outcome, kind: Kind, what: str) -> None:
        told = {"kind": kind, "what": what, "exchange": outcome.exchange}
        times = {"began": outcome.began, "ended": outcome.ended, "request": outcome.request}
        self._ledger.note(Outcome(**told, **times))  # type: ignore[arg-type]

    async def _attempt(
        self,
        exchange: Exchange,
        manner: Manner,
        headers: dict[str, str],
        previous: str,
        answered: str,
    ) -> tuple[Outcome, float]:
        """What became of it, and when to ask again if that makes sense.

        ``answered`` is the id of the answer that has to come again; empty: a new one.
        """
        checker = Checker(exchange.expected)
        pace = _Pace(time.monotonic())

        def hear(channel: str, piece: str) -> None:
            pace.beat()
            checker.hear(channel, piece)

        reading = READINGS[exchange.dialect](hear)
        again_s = AGAIN_S
        kind: Kind = "whole"
        request, what, tokens = "", "", 0
        self._ledger.open += 1
        try:
            door = replace(self._door, key=manner.doomed_key or self._door.key)
            async with Connection.open(door, is_slow=manner.pause_s > 0) as connection:
                try:
                    body = exchange.content(previous)
                    async with asyncio.timeout(WHOLE_S):
                        await ask(connection, exchange.path, body, headers, reading, manner)
                except TimeoutError as error:
                    raise Failure(200, f"not over after {WHOLE_S:g} s") from error
                finally:
                    request = connection.headers.get("x-request-id", "")
            checker.over(reading.answer)
            if answered:
                _expect_replay(answered, reading, connection)
        except (Broken, Failure, Left, Deviation) as error:
            kind, what, tokens = _judged(error, exchange, manner, checker)
            if isinstance(error, Failure) and error.retry_after_s:
                again_s = error.retry_after_s
        finally:
            self._ledger.open -= 1
        outcome = Outcome(
            kind=kind,
            exchange=exchange.name,
            request=reading.answer.id if kind == "whole" else request,
            began=pace.began,
            ended=time.monotonic(),
            first_s=pace.first - pace.began if pace.first and exchange.is_streamed else None,
            stall_s=pace.stall_s,
            tokens=tokens or checker.tokens,
            what=what,
        )
        self._ledger.note(outcome)
        return outcome, again_s


def _expect_replay(answered: str, reading: Reading, connection: Connection) -> None:
    """Raises Deviation when it is another answer than the one of that id."""
    if reading.answer.id != answered or connection.headers.get("idempotent-replayed") != "true":
        tokens = reading.answer.completion_tokens
        raise Deviation("duplicated", tokens, "generated again under one key")


def _judged(
    error: Broken | Failure | Left | Deviation,
    exchange: Exchange,
    manner: Manner,
    checker: Checker,
) -> tuple[Kind, str, int]:
    """What an attempt that was not whole was; the tokens that a deviation is about."""
    if not isinstance(error, Deviation):
        try:
            checker.broken_off()
        except Deviation as deviation:
            error = deviation
    if isinstance(error, Deviation):
        return error.flaw, str(error), error.tokens
    if isinstance(error, Left):
        return "left", "", 0
    if isinstance(error, Broken):
        return "gateway lost", str(error), 0
    if manner.doomed_key and REVOKED in str(error):
        return "key revoked", str(error), 0
    if exchange.is_upstream:
        return "upstream lost", str(error), 0
    if STOPPING in str(error):
        return "gateway stopped", str(error), 0
    is_refusal = error.status in (429, 503) and error.retry_after_s is not None
    return "refused" if is_refusal else "failed", str(error), 0
