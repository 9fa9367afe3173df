"""`truncation: auto`: a conversation that outgrew its model loses its oldest turns."""

from msgspec.structs import replace

from bus.fleet import card_of
from proto.dialects.asked import Asked
from proto.prompt import Chat
from proto.tokenization import CountTokens
from services.gateway.gateway import Gateway

BYTES_A_CHARACTER = 4
"""No tokenizer makes more tokens of a text than it has bytes, but for a template's own."""
LEAST_ANSWER = 16
"""Tokens that are left for an answer that names no size."""


async def truncated(gateway: Gateway, asked: Asked) -> Asked:
    """With as many of the latest turns as fit, cut before one of the user's; as it is where it
    fits, and where even the last turn does not: the engine says so. Raises MeshError.
    """
    (chat,) = asked.prompts
    assert isinstance(chat, Chat)
    room = _room(gateway, asked)
    if room is None or (not chat.images and chat.chars * BYTES_A_CHARACTER < room):
        return asked
    # Held over all the counting, so that a picture is fetched once.
    async with gateway.images.held(asked.model, asked.prompts, gateway.fleet, "input") as (shown,):
        assert isinstance(shown, Chat)
        if await _fits(gateway, asked, shown, room):
            return asked
        shorter = _shortened(shown)
        first, last = 0, len(shorter)
        while first < last:
            middle = (first + last) // 2
            if await _fits(gateway, asked, shorter[middle], room):
                last = middle
            else:
                first = middle + 1
    return replace(asked, prompts=(_shortened(chat)[first],)) if first < len(shorter) else asked


def _room(gateway: Gateway, asked: Asked) -> int | None:
    """Tokens that the prompt may have; None while nobody serves the model."""
    for engine in gateway.fleet.holders(asked.model):
        card = card_of(engine, asked.model)
        if card is not None:
            answer = min(asked.max_tokens or LEAST_ANSWER, card.context_length // 2)
            return card.context_length - answer
    return None


async def _fits(gateway: Gateway, asked: Asked, chat: Chat, room: int) -> bool:
    question = CountTokens(
        model=asked.model, prompt=chat, key=asked.key, local_only=asked.local_only
    )
    return (await gateway.count(question)).tokens <= room


def _shortened(chat: Chat) -> list[Chat]:
    """Ever shorter ones; what stands above the conversation stays."""
    start = 1 if chat.turns[0].role == "system" else 0
    cuts = [at for at, turn in enumerate(chat.turns) if turn.role == "user" and at > start]
    return [replace(chat, turns=(*chat.turns[:start], *chat.turns[at:])) for at in cuts]
