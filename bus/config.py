"""The mesh's configuration, as every service sees it: the layers in shared state, merged."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import get_args

from bus.connection import Bus
from bus.errors import Conflict, NotConnected
from bus.state import Bucket
from proto.config import CONFIG, Config, ConfigLayer, ConfigView, Layer
from proto.effective import effective

log = logging.getLogger(__name__)

LAYERS: tuple[Layer, ...] = get_args(Layer)
"""The lowest first."""
RETRY_S = 1.0
TRIES = 5
"""A layer that was changed at the same moment is read and changed again."""


class ConfigFollower:
    """Knows what is in effect at every moment; nothing is until ``run`` has read it."""

    def __init__(self, changed: Callable[[Config], None] = lambda _: None) -> None:
        """``changed`` is called with every configuration that comes into effect, and when a layer
        takes back what lies below all of them.
        """
        self.effective = Config()
        self.layers: dict[Layer, ConfigLayer] = {}
        self.is_known = False
        """Whether it was read: before, there may be any."""
        self._changed = changed

    async def read(self, bus: Bus) -> None:
        """Know what there is now, before ``run``. While the bus is away, or a layer cannot be read,
        it is not known: keys and limits may be what is missing.
        """
        try:
            layers = await open_layers(bus)
            for key, layer in (await layers.all()).items():
                self._hear(key, layer)
            self.is_known = not set(LAYERS) & (await layers.unread()).keys()
        except NotConnected as error:
            log.warning("no configuration yet: %s", error)

    async def run(self, bus: Bus) -> None:
        """Follow it for ever."""
        while not self.is_known:
            await self.read(bus)
            await asyncio.sleep(0 if self.is_known else RETRY_S)
        known = {str(name): layer for name, layer in self.layers.items()}
        await (await open_layers(bus)).watch(self._hear, known)

    def _hear(self, key: str, layer: ConfigLayer | None) -> None:
        told = _configs(self.layers)
        self.layers = {
            name: found
            for name in LAYERS
            if (found := layer if name == key else self.layers.get(name)) is not None
        }
        self.effective = merge(self.layers)
        if _configs(self.layers) != told:
            self._changed(self.effective)


def _configs(layers: Mapping[Layer, ConfigLayer]) -> dict[Layer, Config]:
    return {name: layer.config for name, layer in layers.items()}


async def open_layers(bus: Bus) -> Bucket[ConfigLayer]:
    """Raises NotConnected."""
    return await Bucket.open(bus, CONFIG, ConfigLayer)


async def change_layer(
    layers: Bucket[ConfigLayer], name: Layer, change: Callable[[ConfigLayer], ConfigLayer]
) -> ConfigLayer:
    """Write what ``change`` makes of a layer. Raises NotConnected and, after TRIES, Conflict."""
    for attempt in range(TRIES):
        found = await layers.get(name)
        before, revision = found or (ConfigLayer(), 0)
        after = change(before)
        try:
            await layers.swap(name, after, revision)
        except Conflict:
            if attempt == TRIES - 1:
                raise
        else:
            return after
    raise AssertionError("the last try returns or raises")


def merge(layers: Mapping[Layer, ConfigLayer]) -> Config:
    """What is in effect."""
    config = Config()
    for name in LAYERS:
        if name in layers:
            config = effective(config, layers[name].config)
    return config


async def look_at(layers: Bucket[ConfigLayer]) -> ConfigView:
    """As it is in shared state now. Raises NotConnected."""
    there = await layers.all()
    known: dict[Layer, ConfigLayer] = {name: there[name] for name in LAYERS if name in there}
    return ConfigView(effective=merge(known), file=known.get("file"), admin=known.get("admin"))
