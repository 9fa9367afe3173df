"""TLS of the gateway's own: a certificate from files, and its renewals while it is in use."""

import asyncio
import logging
import ssl
from pathlib import Path

from msgspec import Struct

from services.host import SettingError, setting

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""Whoever renews a certificate writes two files; a pair that does not match is tried again."""

Stamp = tuple[int, ...]


class Certificate(Struct, frozen=True):
    chain: Path
    key: Path

    @classmethod
    def told(cls) -> "Certificate | None":
        """From ODYSSAI_TLS_CERT and ODYSSAI_TLS_KEY, PEM files. Raises SettingError."""
        chain, key = setting("ODYSSAI_TLS_CERT", ""), setting("ODYSSAI_TLS_KEY", "")
        if bool(chain) != bool(key):
            raise SettingError("ODYSSAI_TLS_CERT and ODYSSAI_TLS_KEY go together; set both")
        return cls(Path(chain).expanduser(), Path(key).expanduser()) if chain else None

    def context(self) -> ssl.SSLContext:
        """Raises OSError and ValueError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION
        # An encrypted key would else be asked for on a terminal that nobody looks at.
        context.load_cert_chain(self.chain, self.key, password=lambda: b"")
        return context

    def stamp(self) -> Stamp:
        """Differs when one of the files was written. Raises OSError."""
        states = [file.stat() for file in (self.chain, self.key)]
        return tuple(
            n for state in states for n in (state.st_mtime_ns, state.st_size, state.st_ino)
        )


class Tls:
    """What a listening socket needs, and how it stays up to date."""

    def __init__(self, certificate: Certificate) -> None:
        """Raises SettingError."""
        self._certificate = certificate
        try:
            self._stamp = certificate.stamp()
            self._newest = certificate.context()
            self.context = certificate.context()
        except (OSError, ValueError) as error:
            raise SettingError(
                f"ODYSSAI_TLS_CERT {certificate.chain} and ODYSSAI_TLS_KEY {certificate.key} "
                f"cannot be used ({error}); give a PEM chain and its unencrypted private key"
            ) from error
        self.context.sni_callback = self._greet

    def _greet(self, connecting: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        connecting.context = self._newest

    async def stay_fresh(self) -> None:
        """Until cancelled. Connections that are open keep the certificate that they began with."""
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take up what was renewed; a pair that cannot be used is told of, and not taken."""
        try:
            stamp = self._certificate.stamp()
            if stamp == self._stamp:
                return
            self._newest = self._certificate.context()
        except (OSError, ValueError) as error:
            log.error("the renewed TLS certificate cannot be used: %s", error)  # noqa: TRY400 - whole
            return
        self._stamp = stamp
        log.info("the TLS certificate was renewed")
