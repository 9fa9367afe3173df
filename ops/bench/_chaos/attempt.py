"""One attempt at one exchange: asked, checked while it arrives, and judged."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ops.bench._chaos.answer import Broken, Failure
from ops.bench._chaos.checker import Checker, Deviation
from ops.bench._chaos.client import Connection, Door, Left, Manner, ask
from ops.bench._chaos.ledger import Kind, Outcome
from ops.bench._chaos.reading import READINGS
from ops.bench._chaos.rehearsal import Exchange

AGAIN_S = 0.25
"""Before an exchange is asked again that nobody told when to."""
WHOLE_S = 90.0
"""Far longer than any answer takes, with all that may happen to it."""
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


class Attempt:
    """Made once, by ``make``."""

    def __init__(self, exchange: Exchange, manner: Manner, before: str = "") -> None:
        """``before`` is the id of the answer that has to come again; empty: a new one."""
        self.again_s = AGAIN_S
        """When to ask again, if that makes sense."""
        self._exchange = exchange
        self._manner = manner
        self._before = before
        self._checker = Checker(exchange.expected)
        self._pace = _Pace(time.monotonic())
        self._reading = READINGS[exchange.dialect](self._hear)
        self._request = ""

    @property
    def answer(self) -> str:
        """Its id."""
        return self._reading.answer.id

    def _hear(self, channel: str, piece: str) -> None:
        self._pace.beat()
        self._checker.hear(channel, piece)

    async def make(self, door: Door, headers: Mapping[str, str], previous: str) -> Outcome:
        """``previous`` is the id of the response that it goes on from."""
        try:
            await self._ask(door, headers, previous)
        except (Broken, Failure, Left, Deviation) as error:
            if isinstance(error, Failure) and error.retry_after_s:
                self.again_s = error.retry_after_s
            return self._failed(error)
        return self._outcome("whole", "", self._checker.tokens)

    async def _ask(self, door: Door, headers: Mapping[str, str], previous: str) -> None:
        exchange, manner, reading = self._exchange, self._manner, self._reading
        shown = replace(door, key=manner.doomed_key or door.key)
        async with Connection.open(shown, is_slow=manner.pause_s > 0) as connection:
            try:
                body = exchange.content(previous)
                async with asyncio.timeout(WHOLE_S):
                    await ask(connection, exchange.path, body, headers, reading, manner)
            except TimeoutError as error:
                raise Failure(200, f"not over after {WHOLE_S:g} s") from error
            finally:
                self._request = connection.headers.get("x-request-id", "")
        self._checker.over(reading.answer)
        if self._before:
            self._expect_replay(connection)

    def _expect_replay(self, connection: Connection) -> None:
        is_replayed = connection.headers.get("idempotent-replayed") == "true"
        if self.answer != self._before or not is_replayed:
            tokens = self._reading.answer.completion_tokens
            raise Deviation("duplicated", tokens, "generated again under one key")

    def _failed(self, error: Broken | Failure | Left | Deviation) -> Outcome:
        """What came until then has to be right whatever ended it."""
        try:
            self._checker.broken_off()
        except Deviation as deviation:
            error = deviation
        if isinstance(error, Deviation):
            return self._outcome(error.flaw, str(error), error.tokens)
        return self._outcome(self._kind(error), str(error), self._checker.tokens)

    def _kind(self, error: Broken | Failure | Left) -> Kind:
        if isinstance(error, Left):
            return "left"
        if isinstance(error, Broken):
            return "gateway lost"
        if self._manner.doomed_key and REVOKED in str(error):
            return "key revoked"
        if self._exchange.is_upstream:
            return "upstream lost"
        if STOPPING in str(error):
            return "gateway stopped"
        is_refusal = error.status in (429, 503) and error.retry_after_s is not None
        return "refused" if is_refusal else "failed"

    def _outcome(self, kind: Kind, what: str, tokens: int) -> Outcome:
        pace = self._pace
        is_timed = pace.first is not None and self._exchange.is_streamed
        return Outcome(
            kind=kind,
            exchange=self._exchange.name,
            request=self._request,
            began=pace.began,
            ended=time.monotonic(),
            first_s=(pace.first or 0.0) - pace.began if is_timed else None,
            stall_s=pace.stall_s,
            tokens=tokens,
            what=what,
        )
