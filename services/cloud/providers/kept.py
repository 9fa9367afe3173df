"""Providers' keys that the mesh keeps: opened here, sealed again for whoever serves beside us."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from bus import sealing
from bus.connection import Bus
from bus.errors import BusError, Conflict
from bus.keys import away
from bus.mirror import Mirror
from bus.providers import in_order, purpose_of, views
from bus.state import Bucket
from proto.provider import PROVIDER_KEYS, VAULTS, ProviderKeyView, SealedKey, Vault
from services.cloud.providers import vault

log = logging.getLogger(__name__)

OPEN_S = 20.0
"""How long a keychain may think."""
RETRY_S = 30.0
"""One that is locked is asked again."""


class Kept(Struct, frozen=True):
    """Of one provider."""

    keys: tuple[str, ...] = ()
    locked: str = ""
    """Why another one cannot be used."""

    def __repr__(self) -> str:
        return f"Kept({len(self.keys)} keys, {self.locked!r})"


class KeptKeys:
    """All of them by provider, as of now. ``changed`` is called when they are others.

    A key that somebody seals before we are a vault is let in by another cloud service.
    """

    def __init__(
        self, keys: Mirror[SealedKey], vaults: Mirror[Vault], changed: Callable[[], None]
    ) -> None:
        self.by_provider: dict[str, Kept] = {}
        self._keys = keys
        self._vaults = vaults
        self._changed = changed
        self._opened: vault.Opened | None = None
        self._why = "the vault is not open yet"

    @classmethod
    async def find(cls, bus: Bus, changed: Callable[[], None]) -> "KeptKeys":
        """What is there now is read already. Raises NotConnected."""
        keys = Mirror(await Bucket.open(bus, PROVIDER_KEYS, SealedKey))
        vaults = Mirror(await Bucket.open(bus, VAULTS, Vault))
        await keys.read()
        await vaults.read()
        return cls(keys, vaults, changed)

    async def run(self, home: Path, credential: str) -> None:
        """Follow them for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keys.run())
            tasks.create_task(self._vaults.run())
            tasks.create_task(self._keep_open(home, credential))
            while True:
                await self._keys.changed.wait()
                self._keys.changed.clear()
                self.look()

    async def _keep_open(self, home: Path, credential: str) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._vaults.changed.wait(), RETRY_S)
            self._vaults.changed.clear()
            await self.open(home, credential)

    async def open(self, home: Path, credential: str) -> None:
        """Have the vault open, the mesh know whom to seal for, and whoever is new let in. What
        cannot be done now is tried again.
        """
        known = self._vaults.records.get(credential)
        if self._opened is None:
            self._opened = await self._try_to_open(home, known.kept if known else None)
            self.look()
        if self._opened is not None:
            public = self._opened.private.public_key().public_bytes_raw()
            if known is not None and known.public != public:
                log.warning("the vault's key is new: what was sealed for the old one is lost")
            us = Vault(public=public, kept=self._opened.kept)
            try:
                await self._vaults.change(credential, lambda _: us)
                await self._let_in()
            except BusError as error:
                log.info("the vault is not told yet: %s", error)

    async def _try_to_open(self, home: Path, kept: vault.Where | None) -> vault.Opened | None:
        try:
            async with asyncio.timeout(OPEN_S):
                return await asyncio.to_thread(vault.opened, home, kept)
        except (vault.VaultShut, TimeoutError) as error:
            self._why = str(error) or f"the keychain does not answer within {OPEN_S:g} s"
            log.error("providers' keys stay shut: %s", self._why)  # noqa: TRY400
        return None

    def views(self, provider: str) -> list[ProviderKeyView]:
        """In the order in which they are used."""
        return views(self._keys.records, provider)

    async def read(self) -> None:
        """Know all that is there now. Raises MeshError."""
        try:
            await self._keys.read()
        except BusError as error:
            raise away(error) from error
        self.look()

    def look(self) -> None:
        """Open them all again."""
        found = {name.partition(".")[0] for name in self._keys.records}
        before, self.by_provider = self.by_provider, {name: self._of(name) for name in found}
        if self.by_provider != before:
            self._changed()

    def _of(self, provider: str) -> Kept:
        keys: list[str] = []
        locked = ""
        for record in in_order(self._keys.records, provider):
            try:
                keys.append(self._key(record))
            except sealing.Shut as error:
                name = record.partition(".")[2]
                locked = f"The key {name!r} of {provider!r} cannot be used: {error}."
                log.warning("%s", locked)
        return Kept(tuple(keys), locked)

    def _key(self, name: str) -> str:
        """Raises Shut."""
        if self._opened is None:
            raise sealing.Shut(self._why)
        record = self._keys.records[name]
        return sealing.opened(record.sealed, record.wraps, purpose_of(name), self._opened.private)

    async def _let_in(self) -> None:
        """Seal for the vaults that are new. Raises NotConnected."""
        readers = [known.public for known in self._vaults.records.values()]
        for name in tuple(self._keys.records):
            try:
                await self._share(name, readers)
            except (Conflict, sealing.Shut) as error:
                log.debug("%s is not shared: %s", name, error)

    async def _share(self, name: str, readers: list[bytes]) -> None:
        assert self._opened, "the vault is open"
        known = self._keys.records[name].wraps
        if all(sealing.fingerprint(reader) in known for reader in readers):
            return
        found = await self._keys.bucket.get(name)
        if found is None:
            return
        record, revision = found
        wraps = sealing.shared(record.wraps, purpose_of(name), self._opened.private, readers)
        await self._keys.bucket.swap(name, replace(record, wraps=wraps), revision)
