"""Secrets sealed for some and unreadable to all others, the mesh's own state among them.

A secret is encrypted once, by a key of its own, which is wrapped for each reader: X25519 with a
fresh key, HKDF, AES-GCM. All of it is bound to what the secret is for, so that a record that
somebody moves to another name does not open there.
"""

import hashlib
import os
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PUBLIC_BYTES = 32
NONCE_BYTES = 12
KEY_BITS = 256
_ONCE = bytes(NONCE_BYTES)
"""The nonce of a wrap, whose key is used once."""


class Shut(Exception):
    """What is sealed does not open: it is not for us, was changed, or is of somewhere else."""


def fingerprint(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:16]


def seal(secret: str, purpose: str, readers: Iterable[bytes]) -> tuple[bytes, dict[str, bytes]]:
    """What is sealed, and what opens it, by each reader's fingerprint: they are public keys."""
    key, nonce = AESGCM.generate_key(KEY_BITS), os.urandom(NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, secret.encode(), purpose.encode())
    return sealed, {fingerprint(reader): _wrapped(key, purpose, reader) for reader in readers}


def opened(sealed: bytes, wraps: dict[str, bytes], purpose: str, private: X25519PrivateKey) -> str:
    """Raises Shut."""
    key = _unwrapped(wraps, purpose, private)
    try:
        nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        return AESGCM(key).decrypt(nonce, body, purpose.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise Shut("it was changed, or is of somewhere else") from error


def shared(
    wraps: dict[str, bytes], purpose: str, private: X25519PrivateKey, readers: Iterable[bytes]
) -> dict[str, bytes]:
    """With wraps for readers that have none. Raises Shut."""
    missing = [reader for reader in readers if fingerprint(reader) not in wraps]
    if not missing:
        return wraps
    key = _unwrapped(wraps, purpose, private)
    return wraps | {fingerprint(reader): _wrapped(key, purpose, reader) for reader in missing}


def _wrapped(key: bytes, purpose: str, reader: bytes) -> bytes:
    own = X25519PrivateKey.generate()
    public = own.public_key().public_bytes_raw()
    wrapping = _agreed(own, reader, public, reader)
    return public + AESGCM(wrapping).encrypt(_ONCE, key, purpose.encode())


def _unwrapped(wraps: dict[str, bytes], purpose: str, private: X25519PrivateKey) -> bytes:
    ours = private.public_key().public_bytes_raw()
    wrap = wraps.get(fingerprint(ours))
    if wrap is None:
        raise Shut("it is sealed for others")
    public, body = wrap[:PUBLIC_BYTES], wrap[PUBLIC_BYTES:]
    try:
        wrapping = _agreed(private, public, public, ours)
        return AESGCM(wrapping).decrypt(_ONCE, body, purpose.encode())
    except (InvalidTag, ValueError) as error:
        raise Shut("it was changed, or is of somewhere else") from error


def _agreed(private: X25519PrivateKey, theirs: bytes, sender: bytes, reader: bytes) -> bytes:
    agreed = private.exchange(X25519PublicKey.from_public_bytes(theirs))
    derive = HKDF(SHA256(), KEY_BITS // 8, salt=sender + reader, info=b"odyssai seal 1")
    return derive.derive(agreed)
