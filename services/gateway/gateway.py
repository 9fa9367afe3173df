"""What all endpoints of one gateway process share."""

import time
from importlib.metadata import PackageNotFoundError, version

from bus.fleet import Fleet
from proto.ids import GatewayId
from services.gateway.dispatch import Mesh
from services.gateway.exchange import Exchange
from services.gateway.settings import Settings


class Gateway:
    def __init__(self, id: GatewayId, settings: Settings, mesh: Mesh) -> None:
        self.id = id
        self.settings = settings
        self.mesh = mesh
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
