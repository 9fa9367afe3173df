"""Rank 0: every pass that a batch has made here, the other ranks are told to make first."""

import weakref
from collections.abc import Iterable
from contextlib import suppress

import mlx.core as mx
from mlx.nn.layers.base import Module

from services.runner.engine.batching.chunk import Chunk, read
from services.runner.engine.batching.decoding import Decoder, Response
from services.runner.engine.batching.drawing import Drawn, draw
from services.runner.engine.batching.execution import Execution
from services.runner.engine.batching.prefixes import Prefixes
from services.runner.engine.batching.sampling import Sampler
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.caching.cache import Cache
from services.runner.engine.caching.cache_key import BEYOND_TOKENS, agreement
from services.runner.engine.caching.prefix_cache import PrefixCache
from services.runner.engine.group import acts
from services.runner.engine.group.joining import Joined
from services.runner.engine.group.line import GroupLost, in_step

OWNER_BYTES = BEYOND_TOKENS // 8 + 9
"""Of the number by which an owner's keys are told from everybody's."""


class Leading(Execution):
    """By this process and those that follow it, each with its part of the model."""

    looks_ahead = True
    rest_s = 1.0

    def __init__(self, joined: Joined) -> None:
        super().__init__(joined.loaded)
        self._joined = joined
        self._line = joined.line

    @property
    def has_promised(self) -> bool:
        """The others may have begun the next step."""
        return self._line.has_promised

    def prefixes(self, limit_bytes: int) -> Prefixes:
        return LeadingPrefixes(self._joined.prefix_cache(), limit_bytes, self._joined)

    def decoder(self, slots: int) -> Decoder:
        loaded = self.loaded
        return LeadingDecoder(loaded.model, loaded.tokenizer.eos_token_ids, slots, self._joined)

    def read(self, chunk: Chunk) -> mx.array | None:
        parts = zip(chunk.sequences, chunk.tokens, strict=True)
        self._line.say(
            acts.Read([acts.Taken(s.number, s.done, len(tokens)) for s, tokens in parts])
        )
        with in_step():
            logits = read(self.loaded.model, chunk, pass_by_pass=True)
            if logits is not None:
                self._line.expect_whole()
        return logits

    def rest(self) -> None:
        """RDMA's links go to sleep where they carry nothing for long, and wake up slowly."""
        if self._joined.is_over_rdma:
            self._line.say()
        self._line.rest()

    def end(self) -> None:
        self._line.say(acts.End())
        with suppress(GroupLost, RuntimeError):  # Who is gone already needs not be told.
            self._line.expect_whole()  # Whoever goes first would cut the others off.


class LeadingPrefixes(Prefixes):
    def __init__(self, cache: PrefixCache, limit_bytes: int, joined: Joined) -> None:
        super().__init__(cache)
        self._joined = joined
        self._line = joined.line
        self._last = -1
        self._limit = -1
        self.resize(limit_bytes)

    def fetch(self, sequence: Sequence) -> None:
        self._last += 1
        sequence.number = self._last
        # Whatever way it goes: what the others hold for it must go as well.
        weakref.finalize(sequence, self._line.note, acts.Drop(sequence.number)).atexit = False
        self._line.note(_introduced(sequence))
        super().fetch(sequence)

    def keep_prompt(self, sequence: Sequence) -> None:
        self._line.note(acts.KeepPrompt(sequence.number))
        super().keep_prompt(sequence)

    def keep(self, sequence: Sequence, tokens: list[int], cache: Cache) -> None:
        self._line.note(acts.Keep(sequence.number))
        super().keep(sequence, tokens, cache)

    def resize(self, limit_bytes: int) -> None:
        limit_bytes = self._joined.cache_limit(limit_bytes)
        if limit_bytes != self._limit:
            self._limit = limit_bytes
            self._line.note(acts.Resize(limit_bytes))
        super().resize(limit_bytes)


def _introduced(sequence: Sequence) -> acts.Fetch:
    key, prompt = sequence.cache_key, sequence.prompt
    if key is None or not key.offset:
        return acts.Fetch(sequence.number, prompt, len(prompt), session=sequence.session)
    common = agreement(key.of(prompt), prompt)
    owner = key.offset.to_bytes(OWNER_BYTES)
    return acts.Fetch(sequence.number, prompt, common, owner, sequence.session)


class LeadingDecoder(Decoder):
    """Draws for all ranks: they go on with its tokens, whatever their own logits say."""

    def __init__(self, model: Module, ends: Iterable[int], slots: int, joined: Joined) -> None:
        super().__init__(model, ends, slots)
        self._line = joined.line
        self._common = self._draw
        """One object, by which mlx-lm sees that all rows draw in one call."""
        self._own: dict[int, Sampler] = {}

    def join(self, drawn: list[Drawn]) -> list[int]:
        sequences = [sequence for sequence, _, _ in drawn]
        self._line.note(
            acts.Join(
                [sequence.number for sequence in sequences],
                [token for _, token, _ in drawn],
                [sequence.tokens_left for sequence in sequences],
            )
        )
        return super().join(drawn)

    @property
    def owes_step(self) -> bool:
        return self._line.has_promised

    def step(self, *, may_promise: bool = False) -> list[Response]:
        """Where it may promise the next one, the others begin that before this one is over, as this
        rank does: hearing of it first would cost them the time in which they prepare it.
        """
        self._line.say_step(may_promise=may_promise)
        votes = self._line.take_votes()
        with in_step():
            responses = super().step()
            self._line.expect(votes)
        return responses

    def leave(self, numbers: list[int]) -> dict[int, tuple[Cache, list[int]]]:
        self._line.note(acts.Leave(numbers))
        return super().leave(numbers)

    def _samplers(self, numbers: list[int], sequences: list[Sequence]) -> list[Sampler]:
        """The same for all: one collective tells the others of a whole step."""
        self._own |= {n: s.sampler for n, s in zip(numbers, sequences, strict=True)}
        return [self._common] * len(numbers)

    def _draw(self, logprobs: mx.array) -> mx.array:
        tokens = draw([self._own[number] for number in self.numbers], logprobs)
        return self._line.drawn(tokens, after=logprobs)

    def _forget(self, numbers: Iterable[int]) -> None:
        numbers = list(numbers)
        super()._forget(numbers)
        for number in numbers:
            self._own.pop(number, None)
