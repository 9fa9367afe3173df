"""Pictures and documents of a prompt for an upstream, which cannot ask a gateway for them: as data
URLs.
"""

from base64 import b64encode
from typing import TypeVar

from msgspec.structs import replace

from bus import blobs
from bus.connection import Bus
from proto.generation import Generate
from proto.ids import GatewayId
from proto.prompt import Chat, Part, TextPart, Turn
from proto.tokenization import CountTokens

Asked = TypeVar("Asked", Generate, CountTokens)


async def inlined(bus: Bus, request: Asked) -> Asked:
    """The request, with all bytes in it. Raises MeshError."""
    prompt, gateway = request.prompt, request.gateway
    if gateway is None or not isinstance(prompt, Chat) or not (prompt.images or prompt.documents):
        return request
    turns = [await _turn(bus, gateway, turn) for turn in prompt.turns]
    return replace(request, prompt=replace(prompt, turns=tuple(turns)))


async def _turn(bus: Bus, gateway: GatewayId, turn: Turn) -> Turn:
    if isinstance(turn.content, str):
        return turn
    parts = [await _part(bus, gateway, part) for part in turn.content]
    return replace(turn, content=tuple(parts))


async def _part(bus: Bus, gateway: GatewayId, part: Part) -> Part:
    if isinstance(part, TextPart) or not part.digest:
        return part
    data = await blobs.fetch(bus, gateway, part)
    return replace(part, url=f"data:{part.media_type};base64,{b64encode(data).decode()}")
