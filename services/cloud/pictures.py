"""Pictures of a prompt for an upstream, which cannot ask a gateway for them: as data URLs."""

from base64 import b64encode

from msgspec.structs import replace

from bus import blobs
from bus.connection import Bus
from proto.ids import GatewayId
from proto.inference import Chat, Generate, ImagePart, Part, Turn


async def inlined(bus: Bus, request: Generate) -> Generate:
    """The request, with the bytes of every picture in it. Raises MeshError."""
    prompt = request.prompt
    if not isinstance(prompt, Chat) or not any(turn.images for turn in prompt.turns):
        return request
    turns = [await _turn(bus, request.gateway, turn) for turn in prompt.turns]
    return replace(request, prompt=replace(prompt, turns=tuple(turns)))


async def _turn(bus: Bus, gateway: GatewayId, turn: Turn) -> Turn:
    if isinstance(turn.content, str):
        return turn
    parts = [await _part(bus, gateway, part) for part in turn.content]
    return replace(turn, content=tuple(parts))


async def _part(bus: Bus, gateway: GatewayId, part: Part) -> Part:
    if not isinstance(part, ImagePart) or part.url:
        return part
    data = await blobs.fetch(bus, gateway, part)
    return replace(part, url=f"data:{part.media_type};base64,{b64encode(data).decode()}")
