"""One answer for one Idempotency-Key, at whichever gateway and however often it is asked for.

Whoever is asked first claims the key and answers, whether its client stays or not. Others wait for
that: in the same process, or looking at the record. The claim of a gateway that died is taken over.
What fails is not kept: who asks next begins anew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from msgspec.structs import replace

from bus.connection import Bus
from proto.errors import Code, MeshError
from proto.ids import GatewayId, RequestId
from proto.kept import Answer, KeptAnswer
from services.gateway.http.exchange import Exchange
from services.gateway.idempotency.apart import Apart
from services.gateway.idempotency.claimant import Claimant
from services.gateway.idempotency.ledger import Ledger
from services.gateway.idempotency.name import HEADER, Name, name_of

log = logging.getLogger(__name__)

FIRST_LOOK_S = 0.1
LONGEST_LOOK_S = 1.0
"""Between two looks at what another gateway answers, ever longer."""

Serve = Callable[[Exchange], Awaitable[None]]


class Work(NamedTuple):
    """An answer that this gateway makes."""

    question: bytes
    exchange: Apart
    done: asyncio.Task[Answer | None]
    """None: the record is another gateway's now, and so is the answer."""


class Asked(NamedTuple):
    """A client that waits, and how to serve it if it is the first."""

    name: Name
    exchange: Exchange
    body: bytes
    serve: Serve


class Claim(NamedTuple):
    """The right to answer."""

    revision: int
    """At which the record must still be; 0: there must be none."""
    known_as: RequestId | None
    """What engines may still be generating for a gateway that cannot object."""


VACANT = Claim(0, None)


class Once:
    """What this gateway answers under keys, and where it finds what others have answered."""

    def __init__(self, bus: Bus, gateway: GatewayId, boot: str, ledger: Ledger) -> None:
        self._bus = bus
        self._gateway = gateway
        self._boot = boot
        self._ledger = ledger
        self._works: dict[str, Work] = {}

    async def prepare(self) -> None:
        """Return when answers can be kept."""
        await self._ledger.prepare()

    async def answer(
        self, exchange: Exchange, body: bytes, serve: Serve, admit: Callable[[], object]
    ) -> None:
        """``admit`` is for those that are not served themselves. Raises MeshError, ClientLeft."""
        asked = Asked(name_of(exchange, body), exchange, body, serve)
        async with exchange:
            answer, maker = await self._find(asked)
            headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
            if maker is None:
                admit()
                headers.append((b"idempotent-replayed", b"true"))
            else:
                exchange.standing = [*exchange.standing, *maker.standing]
            await exchange.reply(200, answer.body, headers)

    def tasks(self) -> list[asyncio.Task[Answer | None]]:
        return [work.done for work in self._works.values()]

    async def close(self) -> None:
        """End all; who waited has been told, and who asks next begins anew."""
        tasks = self.tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self, asked: Asked) -> tuple[Answer, Apart | None]:
        """The answer, and what made it if that was for this client. Raises MeshError."""
        name, mine = asked.name, None
        while True:
            if (work := self._works.get(name.key)) is not None:
                _expect_same(name, work.question)
                answer = await asyncio.shield(work.done)
                if answer is not None:
                    return answer, mine if work.exchange is mine else None
            found = await self._ledger.find(name.key)
            if found is not None:
                _expect_same(name, found[0].question)
                if found[0].answer is not None:
                    return found[0].answer, None
            claim = found and await self._vacated(name.key, *found)
            if (found is None or claim) and name.key not in self._works:
                mine = self._begin(asked, claim or VACANT)

    async def _vacated(self, key: str, kept: KeptAnswer, revision: int) -> Claim | None:
        """A claim that may be taken over; None: the record has changed, and is to be read again."""
        if (kept.gateway, kept.boot) == (self._gateway, self._boot):
            return Claim(revision, kept.request)  # Ours: it could not be withdrawn.
        claimant, pause_s = Claimant(self._bus, kept), FIRST_LOOK_S
        while (fate := await claimant.fate()) == "lives":
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_LOOK_S)
            found = await self._ledger.find(key)
            if found is None or found[1] != revision:
                return None
        log.info("taking over from gateway %s, which is %s", kept.gateway, fate)
        # One that is only silent may come back, and tell engines that nobody waits for it.
        return Claim(revision, kept.request if fate == "ended" else None)

    def _begin(self, asked: Asked, claim: Claim) -> Apart:
        exchange = Apart(asked.exchange, asked.body, claim.known_as)
        key = asked.name.key
        done = asyncio.create_task(self._work(asked, exchange, claim.revision))
        self._works[key] = Work(asked.name.question, exchange, done)
        done.add_done_callback(lambda _: self._end(key))
        return exchange

    def _end(self, key: str) -> None:
        done = self._works.pop(key).done
        if not done.cancelled():
            done.exception()  # Nobody need have waited for it.

    async def _work(self, asked: Asked, exchange: Apart, revision: int) -> Answer | None:
        claim = KeptAnswer(
            question=asked.name.question,
            gateway=self._gateway,
            boot=self._boot,
            request=exchange.known_as,
        )
        held = await self._ledger.write(asked.name.key, claim, revision)
        if held is None:
            return None
        try:
            await asked.serve(exchange)
            answer = exchange.answer()
        except BaseException:
            await self._withdraw(asked.name.key, held)
            raise
        return await self._keep(asked.name.key, replace(claim, answer=answer), held)

    async def _keep(self, key: str, kept: KeptAnswer, held: int) -> Answer | None:
        try:
            written = await self._ledger.write(key, kept, held)
        except MeshError as error:
            log.warning("an answer is told once and not kept: %s", error)
            return kept.answer
        return None if written is None else kept.answer

    async def _withdraw(self, key: str, held: int) -> None:
        try:
            await self._ledger.withdraw(key, held)
        except MeshError as error:
            log.info("a claim stays until somebody asks again: %s", error)


def _expect_same(name: Name, question: bytes) -> None:
    """Raises MeshError when the key stands for something else."""
    if name.question != question:
        raise MeshError(
            Code.KEY_REUSED,
            "This Idempotency-Key was used for another request; send that one again as it was, or "
            "choose a new key.",
            param=HEADER.decode(),
        )
