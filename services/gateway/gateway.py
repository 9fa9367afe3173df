"""What all endpoints of one gateway process share."""

import time

from msgspec.structs import replace

from bus.fleet import Fleet
from proto.ids import GatewayId
from proto.inference import Counted, CountTokens
from services.gateway.exchange import Exchange
from services.gateway.images.images import Images
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
        self.images = Images(settings.images)
        self.open: set[Exchange] = set()
        """Requests that are being served."""
        self.served = 0
        self.started = time.monotonic()

    @property
    def fleet(self) -> Fleet:
        return self.mesh.fleet

    async def count(self, question: CountTokens, pictures_in: str = "messages") -> Counted:
        """``pictures_in`` names the field that may hold pictures. Raises MeshError."""
        prompts = (question.prompt,)
        async with self.images.held(question.model, prompts, self.fleet, pictures_in) as shown:
            return await self.mesh.count(replace(question, prompt=shown[0], gateway=self.id))
