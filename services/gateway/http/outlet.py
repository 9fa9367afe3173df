"""What waits to be sent to one client: how much at most, and how long for one who takes nothing."""

import asyncio
import socket
import struct
import time

UNSENT_BYTES = 16 * 1024
"""What may wait in this process for the client's socket, and as much again in the kernel beside
what is under way. Far more would hide for minutes that a client does not read."""
OUTLET = "outlet"
"""In a scope's state: that of its connection."""

_MOST_UNSENT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
"""Python has it on Linux, and from 3.12 on macOS."""
_AT_ONCE = struct.pack("ii", 1, 0)


class Outlet:
    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_given_up = False
        """The client took nothing for so long that its connection was cut."""
        self._transport = transport
        self._link: socket.socket = transport.get_extra_info("socket")
        self._unsent = 0
        self._moved_at = time.monotonic()
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        if _MOST_UNSENT is not None:
            self._link.setsockopt(socket.IPPROTO_TCP, _MOST_UNSENT, UNSENT_BYTES)

    def look(self, now: float, stall_s: float) -> None:
        """Cut the connection if what waits has been the same for so long.

        What waits grows to a bound and no further, so only a client that takes nothing leaves
        it alone.
        """
        unsent = self._transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._moved_at = unsent, now
        elif now - self._moved_at > stall_s:
            self.is_given_up = True
            # Else the kernel would keep what it holds, and try on.
            self._link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._transport.abort()
