"""Whether a gateway may be started where other machines reach it: somebody must be kept out."""

import os
import socket
from pathlib import Path

from ops.supervisor import BusProgram
from proto.config import Config
from services.gateway.http.loopback import is_loopback


class Guarded:
    """Asked for whether the bus answers, it also looks whether services may be started on it."""

    def __init__(
        self, bus_url: str, home: Path, host: str, bus: BusProgram | None, door_url: str = ""
    ) -> None:
        """``host`` is where the gateway would listen; ``bus`` what is brought along, and
        ``door_url`` the doorkeeper's way to it.
        """
        self.why = ""
        """Not; empty where nothing stands against it."""
        self._url = bus_url
        self._home = home
        self._host = host
        self._bus = bus
        self._door_url = door_url

    async def answers(self) -> bool:
        if self._bus is not None and not await self._bus.answers():
            return False
        self.why = await objection(self._url, self._home, self._host, self._door_url)
        return not self.why


async def objection(bus_url: str, home: Path, host: str, door_url: str = "") -> str:
    """Why not, and what to do; empty where nothing stands against it."""
    if os.environ.get("ODYSSAI_ADMIN_TOKEN") or _is_local(host):
        return ""
    # The NATS client takes half a second to import: most meshes stay on loopback.
    from bus.config import look_at, open_layers
    from bus.connection import Bus
    from bus.errors import BusError
    from bus.keys import has_keys, open_keys
    from ops import buckets
    from proto.effective import effective
    from proto.keys import scopes_of_others, unguarded

    try:
        if door_url:
            async with Bus.connect(door_url, "ops:guarded", within_s=5.0) as door:
                await buckets.make(door)
        async with Bus.connect(bus_url, "ops:guarded", within_s=5.0) as bus:
            view = await look_at(await open_layers(bus))
            made = await (await open_keys(bus)).all()
    except BusError:
        return ""  # The gateway will find out, and start closed.
    # A file that was changed while nothing ran is not in the mesh yet.
    config = effective(_file(home), view.admin.config if view.admin else Config())
    if any(has_keys(each, made) or scopes_of_others(each) for each in (config, view.effective)):
        return ""
    return unguarded(host)


def _is_local(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host or None, 0, flags=socket.AI_PASSIVE)
        return is_loopback(str(found[0][4][0]))
    except OSError:
        return False


def _file(home: Path) -> Config:
    from services.scheduler.configuration.document import NotConfig
    from services.scheduler.configuration.text import parse

    path = Path(os.environ.get("ODYSSAI_CONFIG") or home / "odyssai.yaml").expanduser()
    try:
        return parse(path.read_text())
    except (NotConfig, OSError, UnicodeDecodeError):
        return Config()
