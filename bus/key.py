"""Key pairs that prove who connects: nkeys, as the bus server knows them.

The seed is the secret half and never leaves the machine that made it, except for an
invitation's, which is part of its token.
"""

import secrets
from dataclasses import dataclass

import nkeys


class BadSeed(ValueError):
    """The text is no seed of a key: mistyped, or cut short."""


@dataclass(frozen=True)
class Key:
    public: str
    seed: str

    @classmethod
    def fresh(cls) -> "Key":
        return cls.of(nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER).decode())

    @classmethod
    def of(cls, seed: str) -> "Key":
        """Raises BadSeed; a seed carries a checksum."""
        seed = seed.strip()
        try:
            prefix, raw = nkeys.decode_seed(bytearray(seed.encode()))
            pair = nkeys.from_seed(bytearray(seed.encode()))
            is_whole = nkeys.encode_seed(raw, prefix).decode() == seed
        except (nkeys.NkeysError, ValueError) as error:
            raise BadSeed("this is no key's seed") from error
        if not is_whole:
            raise BadSeed("this seed was mistyped")
        return cls(pair.public_key.decode(), seed)
