"""API keys in shared state: followed, made, revoked, and listed with what they have spent."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from msgspec import UNSET
from msgspec.structs import replace

from bus.config import change_layer, look_at, open_layers
from bus.connection import Bus
from bus.errors import BusError, Conflict, NotConnected
from bus.state import Bucket
from proto.config import Config, ConfigLayer, KeyConfig
from proto.effective import merged
from proto.errors import Code, MeshError
from proto.keys import (
    KEYS,
    SPENDING,
    FreshKey,
    KeyRecord,
    KeyView,
    Spending,
    account_of,
    current,
    fresh_key,
    has_budget,
    is_expired,
    is_name,
    without_hash,
)

log = logging.getLogger(__name__)

RETRY_S = 1.0


class KeyFollower:
    """Knows every key that the mesh made, as of now."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.is_known = False
        """Whether they were read: before, there may be any."""
        self.has_unread = False
        """A record could not be read then: there is a key, whatever it is."""
        self._changed = changed

    async def read(self, bus: Bus) -> None:
        """Know what there is now, before ``run``. While the bus is away that stays unknown."""
        try:
            keys = await open_keys(bus)
            self.records = await keys.all()
            self.has_unread = bool(await keys.unread())
        except NotConnected as error:
            log.warning("no keys are known yet: %s", error)
            return
        self.is_known = True
        self._changed()

    async def run(self, bus: Bus) -> None:
        """Follow them for ever."""
        while not self.is_known:
            await self.read(bus)
            await asyncio.sleep(0 if self.is_known else RETRY_S)
        await (await open_keys(bus)).watch(self._hear, self.records)

    def _hear(self, name: str, record: KeyRecord | None) -> None:
        kept = {key: known for key, known in self.records.items() if key != name}
        self.records = kept if record is None else {**kept, name: record}
        self._changed()


async def open_keys(bus: Bus) -> Bucket[KeyRecord]:
    """Raises NotConnected."""
    return await Bucket.open(bus, KEYS, KeyRecord)


async def open_spending(bus: Bus) -> Bucket[Spending]:
    """Raises NotConnected."""
    return await Bucket.open(bus, SPENDING, Spending)


async def create_key(bus: Bus, name: str, settings: KeyConfig, by: str) -> tuple[FreshKey, KeyView]:
    """The key itself is told here and never again. Raises MeshError."""
    _expect_new(name, settings)
    key = fresh_key()
    record = KeyRecord(
        prefix=key.prefix,
        config=replace(settings, sha256=key.sha256),
        created_s=time.time(),
        by=by,
    )
    try:
        if name in ((await look_at(await open_layers(bus))).effective.keys or {}):
            raise _taken(name)
        keys = await open_keys(bus)
        # What an earlier key of the name had spent is not this one's.
        await (await open_spending(bus)).delete(name)
        await keys.swap(name, record, 0)
    except Conflict as error:
        raise _taken(name) from error
    except BusError as error:
        raise away(error) from error
    return key, _view(name, record, None, record.created_s)


async def revoke_key(bus: Bus, name: str, by: str) -> None:
    """It opens nothing from now on, and what runs for it is cut. One that the configuration names
    is taken back there, over whatever the file says. Raises MeshError.
    """
    try:
        keys = await open_keys(bus)
        is_made = is_name(name) and await keys.get(name) is not None
        if is_made:
            await keys.delete(name)
            await (await open_spending(bus)).delete(name)
        layers = await open_layers(bus)
        is_configured = name in ((await look_at(layers)).effective.keys or {})
        if is_configured:
            gone = Config(keys={name: None})
            await change_layer(
                layers,
                "admin",
                lambda layer: ConfigLayer(
                    config=merged(layer.config, gone), origin=by, at_s=time.time()
                ),
            )
    except BusError as error:
        raise away(error) from error
    if not is_made and not is_configured:
        raise unknown_key(name)


async def list_keys(bus: Bus) -> list[KeyView]:
    """By name. Raises MeshError."""
    now_s = time.time()
    try:
        made = await (await open_keys(bus)).all()
        spent = await (await open_spending(bus)).all()
        configured = (await look_at(await open_layers(bus))).effective.keys or {}
    except BusError as error:
        raise away(error) from error
    views = [_view(name, record, spent.get(name), now_s) for name, record in made.items()]
    views += [
        _configured(name, entry, spent.get(account_of(name)), now_s)
        for name, entry in configured.items()
        if entry and name not in made
    ]
    return sorted(views, key=lambda view: view.name)


def has_keys(config: Config, made: Mapping[str, KeyRecord]) -> bool:
    """Whether anybody was ever given a key that is not revoked, be it expired."""
    configured = (config.keys or {}).values()
    return bool(made) or any(entry and entry.sha256 is not UNSET for entry in configured)


def _expect_new(name: str, settings: KeyConfig) -> None:
    if not is_name(name):
        raise MeshError(
            Code.INVALID_REQUEST,
            f"{name!r} is no name for a key; use letters, digits, - and _, at most 64.",
            param="name",
        )
    if is_expired(settings, time.time()):
        raise MeshError(
            Code.INVALID_REQUEST, "`expires` is past already; give a later time.", param="expires"
        )


def _view(name: str, record: KeyRecord, spent: Spending | None, now_s: float) -> KeyView:
    return replace(
        _configured(name, record.config, spent, now_s),
        prefix=f"odk_{record.prefix}",
        origin="created",
        created_s=record.created_s,
        by=record.by,
    )


def _configured(name: str, config: KeyConfig, spent: Spending | None, now_s: float) -> KeyView:
    return KeyView(
        name=name,
        origin="config",
        settings=without_hash(config),
        is_expired=is_expired(config, now_s),
        spent=current(spent or Spending(), now_s) if has_budget(config) else None,
    )


def _taken(name: str) -> MeshError:
    return MeshError(
        Code.CONFLICT,
        f"There is a key {name!r} already. Revoke it first, or choose another name.",
        param="name",
    )


def unknown_key(name: str) -> MeshError:
    return MeshError(
        Code.NOT_FOUND, f"There is no key {name!r}; `odyssai key list` lists them.", param="name"
    )


def away(error: BusError) -> MeshError:
    return MeshError(
        Code.BUS_UNAVAILABLE,
        f"The mesh's state cannot be reached: {error}. Try again.",
        retry_after_s=1.0,
    )
