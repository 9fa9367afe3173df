"""The cloud service's own half of what providers' keys are sealed with: in the keychain of the
operating system where there is one, else in a file of the home that nobody else may read.
"""

import logging
import os
import stat
from pathlib import Path
from typing import Literal, NamedTuple

import keyring
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from keyring.errors import KeyringError

from bus.home import ForeignState, private_folder

log = logging.getLogger(__name__)

SERVICE = "odyssai-mesh vault"
REAL = 1.0
"""Priority of a keychain from which on it keeps anything, and not in plain."""
Where = Literal["keychain", "file"]


class VaultShut(Exception):
    """The key cannot be had now; the message says what to do."""


class Opened(NamedTuple):
    private: X25519PrivateKey
    kept: Where


def opened(home: Path, kept_before: Where | None) -> Opened:
    """The key, made when there is none. ``kept_before``: where the mesh knows it to be; a keychain
    that does not open for a while is not replaced. Blocks. Raises VaultShut.
    """
    file = home / "vault" / "cloud.key"
    if file.exists():
        return Opened(_read(file), "file")
    try:
        if keyring.get_keyring().priority >= REAL:
            return Opened(_of_keychain(str(file)), "keychain")
    except (KeyringError, OSError, RuntimeError) as error:
        if kept_before == "keychain":
            raise VaultShut(f"the keychain does not open ({error}); unlock it") from error
        log.info("the keychain cannot be used (%s): the vault's key is kept in a file", error)
    return Opened(_made(file), "file")


def _of_keychain(name: str) -> X25519PrivateKey:
    """``name`` is unlike those of other homes on this machine."""
    told = keyring.get_password(SERVICE, name)
    if told is None:
        keyring.set_password(SERVICE, name, X25519PrivateKey.generate().private_bytes_raw().hex())
        told = keyring.get_password(SERVICE, name)
    try:
        return X25519PrivateKey.from_private_bytes(bytes.fromhex(told or ""))
    except ValueError as error:
        raise VaultShut(f"{SERVICE!r} in the keychain is no key of ours; remove it") from error


def _made(file: Path) -> X25519PrivateKey:
    """Whoever is first made it, where two begin at once."""
    try:
        folder = private_folder(file.parent)
        draft = folder / f"{file.name}.{os.getpid()}"
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(X25519PrivateKey.generate().private_bytes_raw().hex())
        try:
            os.link(draft, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    except (ForeignState, OSError) as error:
        raise VaultShut(f"{file} cannot be made: {error}") from error
    return _read(file)


def _read(file: Path) -> X25519PrivateKey:
    try:
        with file.open() as told:
            about = os.fstat(told.fileno())
            text = told.read()
    except OSError as error:
        raise VaultShut(f"{file} cannot be read: {error.strerror}") from error
    if about.st_uid != os.geteuid():
        raise VaultShut(f"{file} belongs to another user; it is not used")
    if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise VaultShut(
            f"{file} may be read by others, who could open providers' keys: `chmod 600` it, and "
            "rotate those keys if somebody did"
        )
    try:
        return X25519PrivateKey.from_private_bytes(bytes.fromhex(text.strip()))
    except ValueError as error:
        raise VaultShut(
            f"{file} is no key of ours; restore it, or remove it and add the providers' keys again"
        ) from error
