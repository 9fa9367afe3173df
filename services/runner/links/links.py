"""An agent's links to all other nodes: which are due, who is asked, what is told of them."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from msgspec.structs import replace

from bus.connection import Bus
from bus.errors import BusError
from bus.state import Bucket
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.link import BULK_BYTES, Link, LinkOpened, OpenLink
from proto.store import STORES, Store
from proto.subjects import OPEN_LINK
from services.runner.links.addresses import addresses
from services.runner.links.measuring import measured
from services.runner.links.responding import Responder

log = logging.getLogger(__name__)

EVERY_S = 900.0
"""Between two measurements of one link."""
AGAIN_S = 10.0
"""Of one that was not reached, or whose ends had no time for bytes."""
BUSY_S = (0.1, 0.6)
"""Who measures with somebody else is asked again after a time between these: two who ask one
another would do so for ever."""
LOOK_S = 2.0
"""Between two looks at what is due."""
ANSWER_S = 2.0


@dataclass(frozen=True)
class _Known:
    at: float
    links: tuple[Link, ...]
    """Empty: its agent did not answer."""

    @property
    def age_limit_s(self) -> float:
        usual = self.links[0] if self.links else None
        is_whole = usual is not None and usual.round_trip_s is not None and usual.bytes_per_s > 0
        return EVERY_S if is_whole else AGAIN_S


class Links:
    """Of one node. It measures, or is measured, with one other at a time."""

    def __init__(
        self,
        bus: Bus,
        node: NodeId,
        usual: str,
        is_at_work: Callable[[], bool],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``usual``: the address by which it reaches the bus, or that an operator named.
        ``is_at_work``: its engines serve somebody, who is not to be disturbed by bytes.
        """
        self._bus = bus
        self._node = node
        self._usual = usual
        self._is_at_work = is_at_work
        self._now = now
        self._is_measuring = False
        self._peers: set[NodeId] = set()
        self._known: dict[NodeId, _Known] = {}
        self._news = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()

    def told(self) -> tuple[Link, ...]:
        """For the heartbeat."""
        now = self._now()
        return tuple(
            replace(link, age_s=round(now - known.at, 1))
            for _, known in sorted(self._known.items())
            for link in known.links
        )

    async def run(self) -> None:
        """For ever."""
        await self._bus.answer(OPEN_LINK, self._open, self._node)
        stores = await Bucket.open(self._bus, STORES, Store)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stores.watch(self._hear_of))
                tasks.create_task(self._keep_measuring())
        finally:
            for serving in self._serving:
                serving.cancel()

    def _hear_of(self, node: str, store: Store | None) -> None:
        """Every node keeps a record of what is on its disk."""
        if node == self._node:
            return
        (self._peers.discard if store is None else self._peers.add)(NodeId(node))
        if store is None:
            self._known.pop(NodeId(node), None)
        elif NodeId(node) not in self._known:
            self._news.set()

    # Being measured

    async def _open(self, asked: OpenLink) -> LinkOpened:
        if self._is_measuring:
            said = f"{self._node} measures with another node: ask again in a moment"
            raise MeshError(Code.CONFLICT, said, retry_after_s=BUSY_S[1])
        bulk_bytes = 0 if self._is_at_work() else min(asked.bulk_bytes, BULK_BYTES)
        where = addresses(self._usual)
        responder = Responder(self._usual, bulk_bytes)
        self._is_measuring = True
        serving = asyncio.create_task(self._serve(responder))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        return LinkOpened(
            ticket=responder.ticket, port=responder.port, addresses=where, bulk_bytes=bulk_bytes
        )

    async def _serve(self, responder: Responder) -> None:
        try:
            await responder.serve()
        finally:
            self._is_measuring = False

    # Measuring

    async def _keep_measuring(self) -> None:
        while True:
            self._news.clear()
            due = list(self._due())
            random.shuffle(due)
            for peer in due:
                await self._measure(peer)
            is_waiting = any(peer not in self._known for peer in self._peers)
            pause_s = random.uniform(*BUSY_S) if is_waiting else LOOK_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    def _due(self) -> Iterator[NodeId]:
        """A link that is known well enough waits until nobody is served here."""
        now, is_at_work = self._now(), self._is_at_work()
        for peer in self._peers:
            known = self._known.get(peer)
            if known is None or (now - known.at >= known.age_limit_s and not is_at_work):
                yield peer

    async def _measure(self, peer: NodeId) -> None:
        """Whatever it comes to: the next look is soon enough for another try."""
        if self._is_measuring:
            return
        self._is_measuring = True
        bulk_bytes = 0 if self._is_at_work() else BULK_BYTES
        asked = OpenLink(asker=self._node, bulk_bytes=bulk_bytes)
        try:
            opened = await self._bus.ask(OPEN_LINK, asked, peer, timeout_s=ANSWER_S)
            links = await asyncio.to_thread(measured, peer, opened)
        except BusError:
            self._known[peer] = _Known(self._now(), ())
        except MeshError as trouble:
            log.debug("links: %s: %s", peer, trouble)
        else:
            self._known[peer] = _Known(self._now(), self._with_rates_kept(peer, links))
        finally:
            self._is_measuring = False

    def _with_rates_kept(self, peer: NodeId, links: tuple[Link, ...]) -> tuple[Link, ...]:
        """Where there was no time for bytes, what was known holds."""
        known = self._known.get(peer)
        rates = {link.address: link.bytes_per_s for link in known.links} if known else {}
        return tuple(
            link
            if link.bytes_per_s or link.round_trip_s is None
            else replace(link, bytes_per_s=rates.get(link.address, 0.0))
            for link in links
        )
