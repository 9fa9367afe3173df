"""Who vouches for a bus server, seen in a handshake before anybody is trusted."""

import asyncio
import ssl
import sys
from typing import Any

from bus.authority import fingerprint

HANDSHAKE_S = 5.0


async def authority_of(host: str, port: int, wanted: str) -> str | None:
    """The certificate, as PEM, with the wanted fingerprint out of those that the server shows.

    None: it does not show it. Nothing is proven yet: who connects next must trust this one alone.
    """
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(HANDSHAKE_S):
        _, writer = await asyncio.open_connection(host, port, ssl=anybody)
    try:
        shown = _chain(writer.get_extra_info("ssl_object"))
    finally:
        writer.close()
    found = next((each for each in shown if fingerprint(each) == wanted), None)
    return None if found is None else ssl.DER_cert_to_PEM_cert(found)


def _chain(connection: Any) -> list[bytes]:
    """All certificates that were shown, in DER."""
    if sys.version_info >= (3, 13):
        return list(connection.get_unverified_chain())
    # Public from 3.13 on; before, certificates are objects that give PEM or, for 2, DER.
    chain = connection._sslobj.get_unverified_chain() or ()
    return [certificate.public_bytes(2) for certificate in chain]
