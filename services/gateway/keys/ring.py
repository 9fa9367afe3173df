"""All keys that open something: those that the mesh made, and those that it is configured with."""

from collections.abc import Callable
from hmac import compare_digest

from msgspec import Struct
from msgspec.structs import replace

from bus.keys import KeyFollower, has_keys
from proto.config import Config, KeyConfig
from proto.effective import key_config
from proto.ids import KeyId
from proto.keys import hash_of, prefix_of

NO_HASH = "0" * 64
"""Of no key: what is not known is compared with something, too."""


class Known(Struct, frozen=True):
    key: KeyId
    settings: KeyConfig


class KeyRing:
    """Tells ``lost`` of every key that opens nothing any more, or is another now."""

    def __init__(self, config: Callable[[], Config], lost: Callable[[KeyId], None]) -> None:
        """``config`` is what is in effect now."""
        self.made = KeyFollower(self.look)
        self._configured = config
        self._lost = lost
        self._prefixes: dict[str, Known] = {}
        self._hashes: dict[str, str] = {}
        self.config = Config()
        """What is in effect, made keys among its ``keys``."""
        self.has_keys = False

    def look(self) -> None:
        """Something has changed: here, or in the configuration."""
        config, records = self._configured(), self.made.records
        made: dict[str, KeyConfig | None] = {n: record.config for n, record in records.items()}
        self.config = replace(config, keys={**(config.keys or {}), **made})
        self.has_keys = self.made.has_unread or has_keys(config, records)
        self._prefixes = {
            record.prefix: Known(KeyId(name), record.config) for name, record in records.items()
        }
        before, self._hashes = self._hashes, _hashes(self.config)
        for name, sha256 in before.items():
            if self._hashes.get(name) != sha256:
                self._lost(KeyId(name))

    def find(self, shown: bytes) -> Known | None:
        """By the whole hash in a time that does not depend on how much of it is right; only the
        prefix, which is no secret, is looked up.
        """
        sha256, prefix = hash_of(shown), prefix_of(shown)
        known = self._prefixes.get(prefix) if prefix else None
        expected = str(known.settings.sha256) if known else NO_HASH
        if compare_digest(expected, sha256) and known:
            return known
        name, settings = key_config(self._configured(), sha256)
        return Known(KeyId(name), settings) if name else None

    @staticmethod
    def is_chosen(shown: bytes) -> bool:
        """A secret that somebody may have thought of: it could be guessed."""
        return prefix_of(shown) is None

    def settings(self, key: KeyId) -> KeyConfig | None:
        """None: it is no key that is known."""
        return (self.config.keys or {}).get(key)


def _hashes(config: Config) -> dict[str, str]:
    return {name: str(entry.sha256) for name, entry in (config.keys or {}).items() if entry}
