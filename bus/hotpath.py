"""A parser for the one subscription whose messages are tokens.

nats-py 2.16 spends 8–46 µs on a message: a regular expression, a Msg, a queue, a
task switch. This one takes the messages of a single subscription straight from
the socket's bytes to a plain function, in about 2 µs, and leaves everything else
(other subscriptions, PING, errors, INFO) to nats-py's own parser. It leans on
nats-py's private attributes ``_ps``, ``_id`` and ``buf``; the version is pinned and
``tests/contract`` checks them.
"""

from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser


class HotParser(Parser):
    """Hands the messages of one subscription to ``hear(subject, body)`` as they are read."""

    def __init__(self, client: Client, sid: int, hear: Callable[[bytes, bytes], None]) -> None:
        super().__init__(client)
        self._sid = str(sid).encode()
        self._hear = hear

    @classmethod
    def install(
        cls, client: Client, subscription: Subscription, hear: Callable[[bytes, bytes], None]
    ) -> None:
        """Replace the client's parser; it survives reconnects, as the subscription's id does."""
        client._ps = cls(client, subscription._id, hear)

    async def parse(self, data: bytes = b"") -> None:
        if self.state == AWAITING_CONTROL_LINE:
            if self.buf:
                data = bytes(self.buf) + data
                self.buf.clear()
            at, is_partial = self._take(data)
            if is_partial:
                self.buf.extend(data[at:])
                return
            data = data[at:]
        if data:
            await super().parse(data)

    def _take(self, data: bytes) -> tuple[int, bool]:
        """Consume leading messages of ours; where it stopped, and whether inside one of ours."""
        at = 0
        while data.startswith(b"MSG ", at):
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                return at, True
            fields = data[at + 4 : line_end].split(b" ")
            if fields[1] != self._sid:
                return at, False
            start = line_end + 2
            end = start + int(fields[-1])
            if len(data) < end + 2:
                return at, True
            self._hear(fields[0], data[start:end])
            at = end + 2
        return at, False
