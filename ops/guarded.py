"""Whether a gateway may be started where other machines reach it: somebody must be kept out."""

import os
import socket
from pathlib import Path

from proto.config import Config
from services.gateway.http.loopback import is_loopback


async def objection(bus_url: str, home: Path, host: str) -> str:
    """Why not, and what to do; empty where nothing stands against it."""
    if os.environ.get("ODYSSAI_ADMIN_TOKEN") or _is_local(host):
        return ""
    # The NATS client takes half a second to import: most meshes stay on loopback.
    from bus.config import look_at, open_layers
    from bus.connection import Bus
    from bus.errors import BusError
    from bus.keys import has_keys, open_keys
    from proto.effective import effective
    from proto.keys import scopes_of_others, unguarded

    try:
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
    from services.scheduler.configuration.text import NotConfig, parse

    path = Path(os.environ.get("ODYSSAI_CONFIG") or home / "odyssai.yaml").expanduser()
    try:
        return parse(path.read_text())
    except (NotConfig, OSError, UnicodeDecodeError):
        return Config()
