"""Providers in shared state: added, taken away, listed; their keys, sealed for cloud services."""

import re
import time
from collections.abc import Iterable, Mapping

import msgspec

from bus import sealing
from bus.config import change_layer, look_at, open_layers
from bus.connection import Bus
from bus.errors import BusError, Conflict, NobodyThere
from bus.keys import away
from bus.state import Bucket
from proto.config import Config, ConfigLayer, ProviderConfig
from proto.effective import merged
from proto.errors import Code, MeshError
from proto.provider import (
    MAIN,
    PROVIDER_KEYS,
    VAULTS,
    CheckProvider,
    KeyName,
    LookAtProviders,
    ProviderCheck,
    ProviderKeyView,
    ProviderView,
    SealedKey,
    Vault,
    hint_of,
    record_of,
)
from proto.subjects import CHECK_PROVIDER, LOOK_AT_PROVIDERS

LOOK_S = 2.0
CHECK_S = 45.0
"""One key after the other is tried."""
LIKE_A_KEY = re.compile(r"(?:sk|pk|rk|gsk|xai)[-_]")
MOST_KEY = 8192
"""Characters: nobody has longer ones."""


def purpose_of(record: str) -> str:
    """What a key's record is sealed for."""
    return f"odyssai provider key {record}"


def in_order(records: Iterable[str], provider: str) -> list[str]:
    """A provider's records as they are used: the main key, then the others by name."""
    names = [record for record in records if record.partition(".")[0] == provider]
    return sorted(names, key=lambda record: (record.partition(".")[2] != MAIN, record))


def views(records: Mapping[str, SealedKey], provider: str) -> list[ProviderKeyView]:
    return [
        ProviderKeyView(
            name=name.partition(".")[2],
            hint=records[name].hint,
            origin="kept",
            created_s=records[name].created_s,
            by=records[name].by,
        )
        for name in in_order(records, provider)
    ]


async def open_provider_keys(bus: Bus) -> Bucket[SealedKey]:
    """Raises NotConnected."""
    return await Bucket.open(bus, PROVIDER_KEYS, SealedKey)


async def add_provider(
    bus: Bus, name: str, settings: ProviderConfig, secret: str | None, by: str
) -> None:
    """With its main key, if it takes one. Raises MeshError."""
    try:
        told = msgspec.convert({"providers": {name: msgspec.to_builtins(settings)}}, Config)
    except msgspec.ValidationError as error:
        raise MeshError(
            Code.INVALID_REQUEST,
            f"{name!r} cannot be added: {error}. Names hold a-z, 0-9 and -, at most 32.",
            param="name",
        ) from error
    try:
        layers = await open_layers(bus)
        if name in ((await look_at(layers)).effective.providers or {}):
            raise MeshError(
                Code.CONFLICT,
                f"There is a provider {name!r} already. Change its settings below "
                f"`providers/{name}`, its keys by `odyssai provider key`, or remove it first.",
                param="name",
            )
        if secret is not None:
            await keep_key(bus, name, MAIN, secret, by)
        await _lay_over(bus, told, by)
    except BusError as error:
        raise away(error) from error


async def remove_provider(bus: Bus, name: str, by: str) -> None:
    """And all keys that are kept for it; one of the environment is taken back as well.

    Raises MeshError.
    """
    known = {view.name for view in await list_providers(bus)}
    try:
        keys = await open_provider_keys(bus)
        kept = in_order(await keys.all(), name)
        if name not in known and not kept:
            raise unknown_provider(name)
        await _lay_over(bus, Config(providers={name: None}), by)
        for record in kept:
            await keys.delete(record)
    except BusError as error:
        raise away(error) from error


async def _lay_over(bus: Bus, told: Config, by: str) -> None:
    def changed(layer: ConfigLayer) -> ConfigLayer:
        return ConfigLayer(config=merged(layer.config, told), origin=by, at_s=time.time())

    await change_layer(await open_layers(bus), "admin", changed)


async def keep_key(
    bus: Bus, provider: str, name: str, secret: str, by: str, *, replaces: bool | None = None
) -> ProviderKeyView:
    """Sealed here: it neither travels nor lies anywhere in plain.

    ``replaces``: True where it is another one's successor, False where there must be none of that
    name, None: either. Raises MeshError.
    """
    expect_key_name(name)
    expect_key(secret)
    record = record_of(provider, name)
    try:
        vaults = await (await Bucket.open(bus, VAULTS, Vault)).all()
        if not vaults:
            raise MeshError(
                Code.NO_ENGINE,
                "No cloud service has told yet whom keys are to be sealed for: start one with "
                "`odyssai up`, then add the key.",
            )
        keys = await open_provider_keys(bus)
        found = await keys.get(record)
        if replaces is not None and replaces != (found is not None):
            raise unknown_key(provider, name) if replaces else _taken(provider, name)
        readers = [vault.public for vault in vaults.values()]
        sealed, wraps = sealing.seal(secret, purpose_of(record), readers)
        kept = SealedKey(
            sealed=sealed, wraps=wraps, hint=hint_of(secret), created_s=time.time(), by=by
        )
        await keys.swap(record, kept, found[1] if found else 0)
    except Conflict as error:
        raise _taken(provider, name) from error
    except BusError as error:
        raise away(error) from error
    return views({record: kept}, provider)[0]


async def drop_key(bus: Bus, provider: str, name: str) -> None:
    """It is not used from the next request on. Raises MeshError."""
    try:
        keys = await open_provider_keys(bus)
        record = record_of(provider, name)
        if record not in await keys.all():
            raise unknown_key(provider, name)
        await keys.delete(record)
    except BusError as error:
        raise away(error) from error


async def list_providers(bus: Bus) -> list[ProviderView]:
    """As a cloud service sees them; without any, as they are configured. Raises MeshError."""
    try:
        seen = await bus.ask(LOOK_AT_PROVIDERS, LookAtProviders(), timeout_s=LOOK_S)
    except NobodyThere:
        return await _configured(bus)
    except BusError as error:
        raise away(error) from error
    return list(seen.providers)


async def _configured(bus: Bus) -> list[ProviderView]:
    try:
        providers = (await look_at(await open_layers(bus))).effective.providers or {}
        keys = await (await open_provider_keys(bus)).all()
    except BusError as error:
        raise away(error) from error
    return [
        ProviderView(
            name=name,
            settings=entry,
            state="not served",
            trouble="no cloud service is heard; `odyssai up` starts one",
            keys=tuple(views(keys, name)),
        )
        for name, entry in sorted(providers.items())
        if entry is not None
    ]


async def check_provider(bus: Bus, name: str) -> ProviderCheck:
    """Raises MeshError."""
    try:
        asked = CheckProvider(provider=name)
        return (await bus.ask(CHECK_PROVIDER, asked, timeout_s=CHECK_S)).check
    except NobodyThere as error:
        raise MeshError(
            Code.NO_ENGINE, "No cloud service is heard; `odyssai up` starts one."
        ) from error
    except BusError as error:
        raise away(error) from error


def expect_key_name(name: str) -> None:
    """Raises MeshError, which does not tell the name: it may be a key at the wrong place."""
    try:
        msgspec.convert(name, KeyName)
    except msgspec.ValidationError as error:
        raise _no_name() from error
    if LIKE_A_KEY.match(name):
        raise _no_name()


def _no_name() -> MeshError:
    return MeshError(
        Code.INVALID_REQUEST,
        "That is no name for a key: letters, digits, - and _, at most 32, and not like a key "
        "itself, which is asked for, or read from standard input.",
        param="key_name",
    )


def expect_key(secret: str) -> None:
    """Raises MeshError, which does not tell the key."""
    if not secret or len(secret) > MOST_KEY or not secret.isascii() or not secret.isprintable():
        raise MeshError(
            Code.INVALID_REQUEST,
            "That is no key: it must be printable ASCII on one line, as the vendor shows it.",
            param="key",
        )


def unknown_provider(name: str) -> MeshError:
    return MeshError(
        Code.NOT_FOUND,
        f"There is no provider {name!r}; `odyssai provider list` lists them.",
        param="name",
    )


def unknown_key(provider: str, name: str) -> MeshError:
    return MeshError(
        Code.NOT_FOUND,
        f"The mesh keeps no key {name!r} of {provider!r}; `odyssai provider list` lists them.",
        param="name",
    )


def _taken(provider: str, name: str) -> MeshError:
    return MeshError(
        Code.CONFLICT,
        f"There is a key {name!r} of {provider!r} already. Rotate it, or choose another name.",
        param="key_name",
    )
