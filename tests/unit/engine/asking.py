"""Requests as the engine's tests make them."""

import random
from typing import Any

from proto.ids import RequestId
from proto.inference import Sampling
from services.runner.engine.sequence import Sequence
from tests.tiny import FIRST_ORDINARY, VOCAB

GREEDY = Sampling(temperature=0)


def prompt(length: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(FIRST_ORDINARY, VOCAB) for _ in range(length)]


def ask(request: str, tokens: list[int], max_tokens: int = 20, **rest: Any) -> Sequence:
    rest.setdefault("sampling", GREEDY)
    return Sequence(request=RequestId(request), prompt=tokens, max_tokens=max_tokens, **rest)
