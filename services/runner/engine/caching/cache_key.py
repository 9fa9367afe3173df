"""How the prefix cache knows a request's tokens: by themselves where they may be anybody's, and as
its owner's from where on they are not.
"""

from collections.abc import Sequence as Run
from dataclasses import dataclass
from hashlib import blake2b

BEYOND_TOKENS = 64
"""Bits: no token, and no picture's key, is as large as an owner's numbers."""


@dataclass(frozen=True, eq=False)
class CacheKey:
    """Of one request. Equal tokens of two owners are unequal keys."""

    prompt: list[int]
    """The keys of its prompt."""
    offset: int = 0
    """From a token of the answer to its key."""

    def of(self, tokens: list[int]) -> list[int]:
        """Of tokens that begin with the prompt, or are a beginning of it."""
        answer = tokens[len(self.prompt) :]
        if self.offset:
            answer = [token + self.offset for token in answer]
        return self.prompt[: len(tokens)] + answer


def cache_key(known: list[int], owner: str, common: int) -> CacheKey:
    """Of an owner's prompt that the cache would know as ``known`` if it were everybody's; the first
    ``common`` of its tokens are.
    """
    digest = blake2b(owner.encode(), digest_size=8).digest()
    offset = (int.from_bytes(digest) + 1) << BEYOND_TOKENS
    return CacheKey(known[:common] + [key + offset for key in known[common:]], offset)


def agreement(ours: Run[int], theirs: Run[int]) -> int:
    """How many tokens two runs have in common from the first on."""
    known, end = 0, min(len(ours), len(theirs))
    while known < end:  # By halves: comparing slices takes a hundredth of comparing tokens.
        half = (known + end + 1) // 2
        if ours[known:half] == theirs[known:half]:
            known = half
        else:
            end = half - 1
    return known
