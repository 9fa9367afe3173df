"""What every request passes before it is served: who asks, whether it may, how much it takes."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bus.audit import AuditLog
from bus.config import ConfigFollower
from bus.connection import Bus
from proto.audit import Actor
from proto.config import Scope
from proto.errors import Code, MeshError
from proto.ids import GatewayId, KeyId
from proto.keys import OTHERS, is_expired, may_use
from proto.placement import Priority
from services.gateway.http.client import client_of
from services.gateway.http.exchange import Exchange
from services.gateway.keys.admission import admitted
from services.gateway.keys.attempts import Attempts, Refusals
from services.gateway.keys.budgets import Budgets
from services.gateway.keys.caller import Caller, Claim, is_local_only, shown_key
from services.gateway.keys.guard import Asked, Guard, expired, revoked
from services.gateway.keys.limits import Limits
from services.gateway.keys.ring import KeyRing
from services.gateway.keys.scopes import Need

CHALLENGE = (b"www-authenticate", b"Bearer")
LOOK_S = 1.0
"""Between two looks for keys whose time is over, and two tellings of who was turned away."""
INFERENCE = Asked("inference", is_administration=False)


class Visit:
    """One request that was let in."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.model = ""
        """As the client calls the one it asks for."""


class Entrance:
    def __init__(
        self, gateway: GatewayId, config: ConfigFollower, audit: AuditLog, admin_token: str
    ) -> None:
        self.ring = KeyRing(lambda: config.effective, self._lose)
        self.attempts = Attempts()
        self.guard = Guard(
            self.ring,
            self.attempts,
            admin_token,
            lambda: config.is_known and self.ring.made.is_known,
        )
        self.limits = Limits(gateway)
        self.budgets = Budgets()
        self.on_revoked: list[Callable[[KeyId], None]] = []
        """Told which key opens nothing any more."""
        self._config = config
        self._audit = audit
        self._visits: dict[Exchange, Visit] = {}

    async def read(self, bus: Bus) -> None:
        """Know what there is now, before ``run``. While the bus is away nobody but the holder of
        the admin token is let in.
        """
        await self._config.read(bus)
        await self.ring.made.read(bus)
        await self.budgets.read(bus)
        self.look()

    async def run(self, bus: Bus) -> None:
        """Follow keys, configuration and spending, and tell who was turned away, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._config.run(bus))
            tasks.create_task(self.ring.made.run(bus))
            tasks.create_task(self.budgets.run(bus))
            while True:
                await asyncio.sleep(LOOK_S)
                self._look_at_clock()
                for refusals in self.attempts.told():
                    await self._tell(refusals)

    def look(self) -> None:
        """The configuration or the keys have changed."""
        self.ring.look()

    @contextmanager
    def let_in(self, exchange: Exchange, need: Need) -> Iterator[None]:
        """For as long as the block lasts it is known who asks. Raises MeshError, also in place of
        one that would tell the client of models that are not for it.
        """
        if need != "nothing":
            is_administration = need == "admin" or exchange.path.startswith("/admin")
            self.expect(exchange, Asked(need, is_administration))
        with self._told(exchange):
            yield

    @contextmanager
    def goes_on(self, exchange: Exchange, caller: Caller) -> Iterator[None]:
        """The same for what is served in place of a request that was let in."""
        self._visits[exchange] = Visit(caller)
        with self._told(exchange):
            yield

    @contextmanager
    def _told(self, exchange: Exchange) -> Iterator[None]:
        try:
            yield
        except MeshError as error:
            raise self._discreet(exchange, error) from error
        finally:
            self._visits.pop(exchange, None)

    def expect(self, exchange: Exchange, asked: Asked) -> None:
        """Raises MeshError unless the client may do this."""
        shown = shown_key(exchange.headers)
        try:
            caller = self.guard.admit(client_of(exchange), shown, asked)
        except MeshError as error:
            if error.code is Code.UNAUTHORIZED and CHALLENGE not in exchange.standing:
                exchange.standing.append(CHALLENGE)
            raise
        self._visits.setdefault(exchange, Visit(caller)).caller = caller

    def known(self, exchange: Exchange, scope: Scope) -> Caller | None:
        """Who asks, if it may do this as well; None: it may not. Nothing is counted."""
        try:
            asked = Asked(scope, is_administration=False)
            return self.guard.judge(client_of(exchange), shown_key(exchange.headers), asked)
        except MeshError:
            return None

    def may_administer(self, exchange: Exchange) -> bool:
        """Whether the same client could order it below /admin. Nothing is counted."""
        try:
            asked = Asked("admin", is_administration=True)
            self.guard.judge(client_of(exchange), shown_key(exchange.headers), asked)
        except MeshError:
            return False
        return True

    def caller(self, exchange: Exchange) -> Caller:
        """Who was let in."""
        return self._visits[exchange].caller

    def actor(self, exchange: Exchange) -> Actor:
        return Actor(name=self.caller(exchange).key, address=exchange.peer, request=exchange.id)

    def is_local_only(self, exchange: Exchange) -> bool:
        """Whether nothing of the request may leave the local network."""
        return is_local_only(self.caller(exchange), exchange.headers)

    def may_use(self, exchange: Exchange, *names: str) -> bool:
        """Whether the client's key may use a model that goes by these names."""
        return may_use(self.caller(exchange).models, *names)

    def expect_model(self, exchange: Exchange, called: str, *names: str) -> None:
        """Raises MeshError when the key may not use it, as if there were none."""
        self._visits[exchange].model = called
        if not self.may_use(exchange, called, *names):
            raise no_such_model(called)

    def admit(self, exchange: Exchange, asked: Priority) -> Claim:
        """Its share of an engine, unless its key was revoked meanwhile or has had all that it may.

        Raises MeshError.
        """
        self.expect(exchange, INFERENCE)
        caller = self.caller(exchange)
        return admitted(self.limits, self.budgets, caller, exchange, asked)

    def spend(self, key: KeyId, tokens: int) -> None:
        """Of what it may take in a minute."""
        self.limits.spend(key, tokens)

    def billed_to(self, key: KeyId) -> str:
        """The name under which what it takes is written down: its own, if it is known."""
        return OTHERS if self.ring.settings(key) is None else key

    def _discreet(self, exchange: Exchange, error: MeshError) -> MeshError:
        """The error as it may be told: what other models there are is not for every key."""
        visit = self._visits.get(exchange)
        hides = visit is not None and visit.caller.models is not None
        if visit is None or not hides or error.code is not Code.MODEL_NOT_FOUND:
            return error
        return no_such_model(visit.model)

    def _look_at_clock(self) -> None:
        """Whatever is being answered for a key that has expired meanwhile ends."""
        for key in {visit.caller.key for visit in self._visits.values()}:
            settings = self.ring.settings(key)
            if settings is not None and is_expired(settings, time.time()):
                self._end(key, expired(key, settings))

    def _lose(self, key: KeyId) -> None:
        """A key was revoked."""
        self._end(key, revoked(key))

    def _end(self, key: KeyId, why: MeshError) -> None:
        for exchange, visit in list(self._visits.items()):
            if visit.caller.key == key:
                exchange.interrupt(why)
        for hook in self.on_revoked:
            hook(key)

    async def _tell(self, refusals: Refusals) -> None:
        act = "admin.refused" if refusals.is_admin else "key.refused"
        by = Actor(name="", address=refusals.address)
        await self._audit.write(act, by, outcome=Code.UNAUTHORIZED.word, count=refusals.count)


def no_such_model(model: str) -> MeshError:
    return MeshError(
        Code.MODEL_NOT_FOUND,
        f"The model {model!r} does not exist, or this key may not use it. GET /v1/models lists "
        "those that it may.",
        param="model",
    )
