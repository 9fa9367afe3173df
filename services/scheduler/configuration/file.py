"""``odyssai.yaml`` beside a scheduler: whenever it is saved, the mesh has it."""

import asyncio
import logging
import socket
import time
from pathlib import Path

from msgspec.structs import replace

from bus.config import change_layer, open_layers
from bus.connection import Bus
from bus.errors import BusError
from proto.config import Config, ConfigLayer
from services.scheduler.configuration.document import NotConfig
from services.scheduler.configuration.text import parse

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often the file is looked at."""


class ConfigFile:
    """One file; the mesh may have others beside other schedulers: the one saved last counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._origin = f"{socket.gethostname()}:{path}"
        self._seen: object = None

    async def follow(self, bus: Bus) -> None:
        """Write what it says into the layer ``file``, for ever."""
        is_first = True
        while True:
            seen = self._state()
            if is_first or seen != self._seen:
                try:
                    await self._tell(bus, is_first)
                except BusError as error:
                    log.warning("odyssai.yaml is not told yet: %s", error)
                else:
                    self._seen, is_first = seen, False
            await asyncio.sleep(LOOK_S)

    def _state(self) -> object:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    async def _tell(self, bus: Bus, is_first: bool) -> None:
        layers = await open_layers(bus)
        found = await layers.get("file")
        before = found[0] if found else ConfigLayer()
        is_ours = before.origin in ("", self._origin)
        if is_first and not is_ours:
            if self._path.exists():
                log.warning(
                    "%s is not in effect: %s is; save it once to put it into effect",
                    self._path,
                    before.origin,
                )
            return
        layer = self._layer(before)
        if layer is not None and not _is_same(layer, before):
            await change_layer(layers, "file", lambda _: layer)
            self._log(layer)

    def _layer(self, before: ConfigLayer) -> ConfigLayer | None:
        """What to write; None when there is no file and never was one."""
        told = replace(before, origin=self._origin, at_s=time.time(), problem="")
        try:
            return replace(told, config=parse(self._path.read_text()))
        except FileNotFoundError:
            return replace(told, config=Config()) if before.origin else None
        except (NotConfig, OSError, UnicodeDecodeError) as error:
            return replace(told, problem=f"{self._path}, {error}")

    def _log(self, layer: ConfigLayer) -> None:
        if layer.problem:
            log.error("the configuration stays as it was: %s", layer.problem)
        else:
            log.info("%s is in effect", self._path)


def _is_same(layer: ConfigLayer, before: ConfigLayer) -> bool:
    """But for the time, so that a restart is no change."""
    return replace(layer, at_s=before.at_s) == before
