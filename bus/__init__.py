"""How it is said: request and reply, token streams, presence, state, telemetry. Knows NATS."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _NoWebsockets(MetaPathFinder):
    """nats-py would import aiohttp for websockets, which nobody here speaks: an eighth of a second
    of the start of every process. Whoever else wants aiohttp has it.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name == "aiohttp" and _is_being_imported():
            raise ModuleNotFoundError(name)


def _is_being_imported() -> bool:
    transport = sys.modules.get("nats.aio.transport")
    return transport is not None and not hasattr(transport, "WebSocketTransport")


sys.meta_path.insert(0, _NoWebsockets())
