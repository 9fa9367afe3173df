"""What all endpoints of one gateway process share."""

import logging
import time
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from bus.audit import AuditLog
from bus.config import ConfigFollower
from bus.fleet import Fleet, card_of
from proto.config import Config, ModelConfig
from proto.effective import captures, fallbacks, loads_on_demand, model_config, target
from proto.ids import EngineId, GatewayId, KeyId, ModelId
from proto.placement import Priority
from proto.presence import ModelCard
from proto.store import StoredModel
from proto.tokenization import Counted, CountTokens
from proto.usage import Amounts, Item
from services.gateway.asking.mesh import Mesh
from services.gateway.asking.placing import expect_stays
from services.gateway.asking.shelf import Shelf
from services.gateway.asking.watch import Watch
from services.gateway.http.exchange import Exchange
from services.gateway.idempotency.ledger import Ledger
from services.gateway.idempotency.once import Once
from services.gateway.images.images import Images
from services.gateway.keys.caller import Claim
from services.gateway.keys.entrance import Entrance
from services.gateway.metering.outbox import Outbox
from services.gateway.metering.tariff import Tariff, tariff
from services.gateway.settings import Settings
from services.gateway.stored.background import Background
from services.gateway.stored.peers import Peers
from services.gateway.stored.store import Store

log = logging.getLogger(__name__)


class Gateway:
    def __init__(
        self, id: GatewayId, boot: str, settings: Settings, mesh: Mesh, watch: Watch
    ) -> None:
        self.id = id
        self.settings = settings
        self.mesh = mesh
        self.watch = watch
        self.audit = AuditLog(mesh.bus)
        self._tell_of_capture = _tell_of_capture()
        self.config = ConfigFollower(self._configured)
        self.entrance = Entrance(id, self.config, self.audit, settings.admin_token)
        self.outbox = Outbox(id, boot, self.entrance.budgets.unsettled)
        self.shelf = Shelf(mesh.fleet)
        peers = Peers()
        store = Store(mesh.bus, settings.responses)
        self.background = Background(mesh.bus, id, store, peers)
        self.once = Once(mesh.bus, id, boot, Ledger(mesh.bus, settings.kept_answers))
        self.entrance.on_revoked.append(self.background.stop_for)
        self.images = Images(settings.images)
        self.is_leaving = False
        """Its balancer is to send it nothing more."""
        self.open: set[Exchange] = set()
        """Requests that are being served."""
        self.served = 0
        self.started = time.monotonic()

    def _configured(self, config: Config) -> None:
        self._tell_of_capture(config)
        self.entrance.look()

    @property
    def fleet(self) -> Fleet:
        return self.mesh.fleet

    def target(self, called: str) -> ModelId:
        """What a client's name for a model stands for; the name itself where it is no alias."""
        return target(self.config.effective, called)

    def model_for(self, exchange: Exchange, called: str, spelled: str = "") -> ModelId:
        """The same, for a client whose key may use it; ``spelled`` as the client wrote it, where
        that is another name. Raises MeshError.
        """
        model = self.target(called)
        known = self._known(model)
        names = (called, model, known.id if known else model)
        self.entrance.expect_model(exchange, spelled or called, *names)
        local_only = self.entrance.is_local_only(exchange)
        expect_stays(model, self.fleet, local_only=local_only)
        return model

    def fallbacks(self, exchange: Exchange, model: ModelId, called: str) -> list[ModelId]:
        """Models to ask when one cannot take a request: those that the client's key may use."""
        known = self._known(model)
        names = (called, model, *((known.id, *known.aliases) if known else ()))
        chain = fallbacks(self.config.effective, filter(None, names))
        return [other for other in chain if self.entrance.may_use(exchange, other)]

    def model_config(self, model: ModelId, called: str = "") -> ModelConfig:
        """The operator's defaults for a model, under whatever name they are written."""
        known = self._known(model)
        names = (known.id, *known.aliases) if known else ()
        return model_config(self.config.effective, (model, called, *names))

    def _known(self, model: ModelId) -> ModelCard | StoredModel | None:
        cards = (card_of(beat, model) for beat in self.fleet.holders(model))
        return next(filter(None, cards), None) or self.shelf.find(model)

    def admit(self, exchange: Exchange, asked: Priority = "interactive") -> Claim:
        """Its share of an engine, unless its key has had all that it may. Raises MeshError."""
        return self.entrance.admit(exchange, asked)

    def may_load(self, model: ModelId, called: str = "") -> bool:
        """A request for it loads it, if a node has it stored."""
        return loads_on_demand(self.config.effective, self.model_config(model, called))

    def tariff(self, engine: EngineId | None, model: ModelId, called: str = "") -> Tariff | None:
        """At which price an engine serves a model; None: there is no such engine any more."""
        beat = self.fleet.heard(engine) if engine else None
        if beat is None:
            return None
        return tariff(beat, model, self.model_config(model, called), self.config.effective)

    def meter(self, key: KeyId, tariff: Tariff, amounts: Amounts) -> None:
        """Have it written down. Nobody waits for that."""
        item = Item(self.entrance.billed_to(key), tariff.model, tariff.provider)
        self.outbox.add(item, amounts)

    async def count(self, question: CountTokens, pictures_in: str = "messages") -> Counted:
        """``pictures_in`` names the field that may hold pictures. Raises MeshError."""
        prompts = (question.prompt,)
        async with self.images.held(question.model, prompts, self.fleet, pictures_in) as shown:
            return await self.mesh.count(replace(question, prompt=shown[0], gateway=self.id))


def _tell_of_capture() -> Callable[[Config], None]:
    """The log says when an operator switches it, on or off."""
    before = False

    def changed(config: Config) -> None:
        nonlocal before
        if captures(config) != before:
            before = captures(config)
            log.warning("capture of prompts and answers is %s", "on" if before else "off")

    return changed


Endpoint = Callable[[Gateway, Exchange], Awaitable[None]]
