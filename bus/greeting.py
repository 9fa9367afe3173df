"""What a bus server says of itself to whoever knocks."""

import asyncio
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Greeting:
    name: str
    """Of the mesh; claimed, not proven."""
    is_encrypted: bool


async def greeting(host: str, port: int) -> Greeting | None:
    """None when nobody answers there, or not as a bus server does."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return None
    try:
        said = json.loads((await reader.readline()).removeprefix(b"INFO "))
        # One of several has a name of its own, and says of which mesh it is.
        mesh = said.get("cluster") or said["server_name"]
        return Greeting(str(mesh), bool(said.get("tls_required")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    finally:
        writer.close()
