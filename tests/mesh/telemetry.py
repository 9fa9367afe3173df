"""What any NATS client hears of a mesh with the credential for operators."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.msg import Msg

from bus.address import Address

Told = dict[str, Any]

BLANK = {"running": 0, "parked": 0, "queued": 0, "generated_tokens": 0, "queued_tokens": 0}


class Telemetry:
    """Every message under ``telemetry.>`` since it began to listen."""

    def __init__(self, engines: int) -> None:
        self._engines = engines
        self.heard: list[tuple[str, Told]] = []
        self._news = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def listen(cls, url: str, engines: int = 1) -> "AsyncIterator[Telemetry]":
        """``engines``: how many the mesh has."""
        telemetry = cls(engines)
        options = Address.parse(url).dialled("test:telemetry")
        client = await nats.connect(**options, reconnect_time_wait=0.05)
        try:
            await client.subscribe("telemetry.>", cb=telemetry._hear)
            await client.flush()
            yield telemetry
        finally:
            await client.close()

    async def _hear(self, mail: Msg) -> None:
        self.heard.append((mail.subject, json.loads(mail.data)))
        self._news.set()

    @property
    def now(self) -> int:
        """A mark: what is heard from here on."""
        return len(self.heard)

    async def until(
        self,
        kind: str,
        is_wanted: Callable[[Told], bool] = lambda _: True,
        since: int = 0,
        within_s: float = 8.0,
    ) -> Told:
        """The first message of a kind that is wanted."""
        at = since
        try:
            async with asyncio.timeout(within_s):
                while True:
                    while at < len(self.heard):
                        subject, told = self.heard[at]
                        at += 1
                        if subject.startswith(f"telemetry.v1.{kind}.") and is_wanted(told):
                            return told
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            last = [told for subject, told in self.heard if f".{kind}." in subject][-3:]
            raise AssertionError(f"no such {kind} within {within_s:g} s; last: {last}") from None

    async def engine(
        self, is_wanted: Callable[[Told], bool], *, since: int = 0, within_s: float = 8.0
    ) -> Told:
        """A heartbeat of an engine. What is zero is left out on the wire and filled in here."""
        told = await self.until("engine", lambda t: is_wanted(BLANK | t), since, within_s)
        return BLANK | told

    async def idle(self, *, within_s: float = 5.0) -> dict[str, Told]:
        """From now on: every engine says twice that it has nothing to do, and makes no token.

        The last heartbeat of each.
        """
        since = self.now
        quiet: dict[str, Told] = {}

        def is_quiet(last: Told) -> bool:
            told = [beat for beat in self._beats(since) if beat["engine"] == last["engine"]][-2:]
            if len(told) == 2 and not any(b["running"] or b["queued"] for b in told):
                made = {beat["generated_tokens"] for beat in told}
                assert len(made) == 1, f"{last['engine']} generates for nobody"
                quiet[last["engine"]] = last
            return len(quiet) == self._engines

        await self.engine(is_quiet, since=since, within_s=within_s)
        return quiet

    def _beats(self, since: int) -> list[Told]:
        return [BLANK | t for s, t in self.heard[since:] if s.startswith("telemetry.v1.engine.")]
