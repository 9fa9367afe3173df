"""What all endpoints of one gateway process share."""

import time
from importlib.metadata import PackageNotFoundError, version

from bus.fleet import Fleet
from proto.ids import GatewayId
from services.gateway.exchange import Exchange
from services.gateway.mesh import Mesh
from services.gateway.settings import Settings
from services.gateway.stored.background import Background
from services.gateway.stored.peers import Peers
from services.gateway.stored.store import Store
from services.gateway.watch import Watch


class Gateway:
    def __init__(self, id: GatewayId, settings: Settings, mesh: Mesh, watch: Watch) -> None:
        self.id = id
        self.settings = settings
        self.mesh = mesh
        self.watch = watch
        peers = Peers()
        store = Store(mesh.bus, settings.responses)
        self.background = Background(mesh.bus, id, store, peers)
        self.open: set[Exchange] = set()
        """Requests that are being served."""
        self.served = 0
        self.started = time.monotonic()

    @property
    def fleet(self) -> Fleet:
        return self.mesh.fleet


def _version() -> str:
    try:
        return version("odyssai-mesh")
    except PackageNotFoundError:
        return "0.0.0+source"


VERSION = _version()
