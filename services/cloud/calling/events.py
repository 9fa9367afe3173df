"""Server-sent events as an upstream's stream has them.

https://html.spec.whatwg.org/multipage/server-sent-events.html, of which fields other than data and
comments are of no use here: vendors say an event's type in its data as well.
"""

from collections.abc import AsyncIterator

from aiohttp import StreamReader


async def data_of(stream: StreamReader) -> AsyncIterator[bytes]:
    """What each event says. Raises ValueError when one is longer than the reader holds."""
    async for line in stream:
        if line.startswith(b"data:"):
            yield line[5:].strip()
