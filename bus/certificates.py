"""The certificates of a home's bus server, as files: made once, renewed in time."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from bus import authority
from bus.authority import Vouched
from bus.home import ForeignState, write_private
from bus.server_config import Tls


def certify(folder: Path, mesh: str, hosts: Sequence[str], now: datetime) -> Tls:
    """The certificate of the mesh's bus server, which others call by ``hosts`` and ours by the
    mesh's name. Raises ForeignState.
    """
    names = list(dict.fromkeys((mesh, *hosts)))
    vouching = _kept(folder, "ca", lambda: authority.new_authority(mesh, now))
    server = _kept(folder, "server", lambda: authority.vouch(vouching, names, now))
    if not authority.is_current(server.certificate, vouching.certificate, names, now):
        _keep(folder, "server", authority.vouch(vouching, names, now))
    return Tls(folder / "server.pem", folder / "server.key")


def renew(folder: Path) -> None:
    """Have the server's certificate made anew when it is looked at next."""
    (folder / "server.pem").unlink(missing_ok=True)


def _kept(folder: Path, name: str, make: Callable[[], Vouched]) -> Vouched:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    try:
        if not (certificate.exists() and key.exists()):
            _keep(folder, name, make())
        return Vouched(certificate.read_text(), key.read_text())
    except OSError as error:
        raise ForeignState(f"{certificate} cannot be used: {error.strerror}") from error


def _keep(folder: Path, name: str, vouched: Vouched) -> None:
    write_private(folder / f"{name}.key", vouched.key)
    write_private(folder / f"{name}.pem", vouched.certificate)
