"""Asking a gateway over HTTP, without the weight of an HTTP client."""

import asyncio
import ssl

_ANSWER_S = 2.0
UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For a gateway that this process started: its certificate names it as others call it."""
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE


async def fetch(
    host: str, port: int, path: str, tls: ssl.SSLContext | None = None
) -> tuple[int, bytes]:
    """Status and body; the status is 0 when nobody answers."""
    shown = f"[{host}]" if ":" in host else host
    # HTTP/1.0, so that the body ends where the connection does, never in chunks.
    question = f"GET {path} HTTP/1.0\r\nHost: {shown}\r\n\r\n".encode()
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            try:
                writer.write(question)
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return 0, b""
    return _parsed(answer)


def _parsed(answer: bytes) -> tuple[int, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return 0, b""
    return int(words[1]), body
