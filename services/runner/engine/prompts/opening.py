"""Where in a prompt the words of its user begin: what stands before them, others may have said."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace

from proto.errors import MeshError
from proto.prompt import Chat, Prompt, Turn
from services.runner.engine.caching.cache_key import agreement
from services.runner.engine.loading import LoadedModel
from services.runner.engine.prompts.prompt import tokens_of

KEPT = 64
"""Openings whose tokens are remembered: few systems ask, and again and again."""
STRANGER = Turn(role="user", content="\ue000")
"""A user whose first letter nobody writes: from it on two prompts have nothing in common."""

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Openings:
    """Of one model: tools and system prompts as its template renders them."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._known: OrderedDict[bytes, list[int]] = OrderedDict()

    async def common(
        self, prompt: Prompt, tokens: list[int], template_arguments: Mapping[str, Any]
    ) -> int:
        """How many of a prompt's ``tokens`` say nothing of its user."""
        if not isinstance(prompt, Chat):
            return 0
        opening = replace(
            prompt, turns=(*prompt.turns[: prompt.common_turns], STRANGER), continues_last=False
        )
        name = blake2b(_encode((opening, template_arguments)), digest_size=16).digest()
        known = self._known.get(name)
        if known is None:
            known = await asyncio.to_thread(self._tokens, opening, template_arguments)
            self._known[name] = known
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(name)
        return agreement(tokens, known)

    def _tokens(self, opening: Chat, template_arguments: Mapping[str, Any]) -> list[int]:
        try:
            return tokens_of(opening, self._model, template_arguments)
        except MeshError:
            return []  # A template may want other turns than these: then nothing is common.
