"""Requests as the engine's tests make them."""

import asyncio
import random
from typing import Any

from proto.generation import Generate, Sampling
from proto.ids import GatewayId, RequestId
from proto.prompt import Chat, Prompt, Turn
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.loading import LoadedModel
from services.runner.engine.reception import Reception
from tests.parrot import script
from tests.tiny import FIRST_ORDINARY, VOCAB

GREEDY = Sampling(temperature=0)


def prompt(length: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(FIRST_ORDINARY, VOCAB) for _ in range(length)]


def ask(request: str, tokens: list[int], max_tokens: int = 20, **rest: Any) -> Sequence:
    rest.setdefault("sampling", GREEDY)
    return Sequence(request=RequestId(request), prompt=tokens, max_tokens=max_tokens, **rest)


def saying(text: str, **rest: Any) -> Chat:
    """A conversation in which a parrot says this next."""
    return Chat(turns=(Turn(role="user", content=script(text)),), **rest)


def receive(model: LoadedModel, request: str, prompt: Prompt, **rest: Any) -> Sequence:
    """A request as the engine's service takes it."""
    rest.setdefault("sampling", GREEDY)
    asked = Generate(
        request=RequestId(request),
        gateway=GatewayId("g"),
        model=model.card.id,
        prompt=prompt,
        **rest,
    )
    return asyncio.run(reception(model).receive(asked))


_RECEPTIONS: dict[int, Reception] = {}


def reception(model: LoadedModel) -> Reception:
    """One for each model: it keeps what it compiled."""
    return _RECEPTIONS.setdefault(id(model), Reception(model))
