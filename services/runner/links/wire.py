"""What two agents say to one another while they measure a link: a ticket, pings, a bulk of bytes.

Sockets that block, in a thread of their own: an event loop would add its turns to each round trip,
and a link of 50 µs would look like one of 200.
"""

import socket
import time

PING_BYTES = 64
PING = b"p".ljust(PING_BYTES, b"\0")
BULK = b"b".ljust(PING_BYTES, b"\0")
"""Asks for the bulk; after it nothing comes."""
DONE = b"d".ljust(PING_BYTES, b"\0")
"""All addresses were tried: whoever listens can stop."""
PATIENCE_S = 1.0
"""Whoever says nothing for so long is left alone."""
BULK_S = 0.2
"""At most so long the bulk is sent, however slow the link."""
WHOLE_S = 2.0
"""One connection takes no longer, however slowly the other side says its words."""
PIECE = bytes(64 << 10)


def read_exactly(connection: socket.socket, size: int, end: float) -> bytes:
    """``end``: by the monotonic clock. Raises OSError: TimeoutError after it, ConnectionError where
    the connection ends before.
    """
    said = bytearray()
    while len(said) < size:
        left_s = end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(min(left_s, PATIENCE_S))
        piece = connection.recv(size - len(said))
        if not piece:
            raise ConnectionError("it closed the connection")
        said += piece
    return bytes(said)
