"""Any rank but the first: it does what rank 0 says, with its own part of the model."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import mlx.core as mx
from mlx.nn.layers.base import Module

from proto.ids import RequestId, SessionId
from services.runner.engine.batching.chunk import Chunk, read
from services.runner.engine.batching.decoding import Decoder
from services.runner.engine.batching.prefixes import Prefixes
from services.runner.engine.batching.sampling import Sampler
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.caching.cache import Cache
from services.runner.engine.caching.cache_key import CacheKey
from services.runner.engine.group import acts
from services.runner.engine.group.joining import Joined
from services.runner.engine.group.line import in_step

SWEEP_TOKENS = 4096
"""Read between two times that mlx's buffer cache is emptied."""


class Diverged(Exception):
    """This rank is not where the leader thinks it is: its passes would be of something else."""


@dataclass
class Progress:
    """Read by other threads."""

    steps: int = 0
    """Acts that were carried out."""
    busy_since: float | None = None
    """Monotonic seconds; None: it waits for the leader's word."""


class Follower:
    """The leader's sequences as this rank holds them. Used on the model's thread alone."""

    def __init__(self, joined: Joined, slots: int, rest: Callable[[int], None]) -> None:
        """``rest`` returns when the leader has woken the others so often."""
        loaded = joined.loaded
        self._rest = rest
        self._rests = 0
        self.progress = Progress()
        self._model = loaded.model
        self._line = joined.line
        self._prefixes = Prefixes(joined.prefix_cache())
        self._decoder = _FollowingDecoder(
            loaded.model, loaded.tokenizer.eos_token_ids, slots, joined
        )
        self._sequences: dict[int, Sequence] = {}
        self._answering: dict[int, Sequence] = {}
        """By the decoder's number."""
        self._ended: dict[int, tuple[list[int], Cache]] = {}
        """Those that have left the decoding batch, with the tokens that their caches hold."""
        self._unswept_tokens = 0
        self._is_promised = False
        """The next word is a step."""

    @property
    def held(self) -> int:
        """Sequences that something was computed of."""
        return len(self._sequences) + len(self._ended)

    def follow(self) -> None:
        """Until the leader ends. Raises GroupLost."""
        with mx.stream(self._decoder.stream), in_step():
            while True:
                self.progress.busy_since = None
                heard = self._line.hear()
                self.progress.busy_since = time.monotonic()
                for act in heard:
                    if isinstance(act, acts.End):
                        return self._line.expect_whole()
                    if isinstance(act, acts.Rest):
                        self.progress.busy_since = None
                        self._rests += 1
                        self._rest(self._rests)
                        continue
                    self._carry_out(act)
                    self.progress.steps += 1
                while self._is_promised:
                    self._step_ahead()

    def _step_ahead(self) -> None:
        """The step that was promised, before the word that says it is here."""
        listened = self._line.listen()
        self._step()
        self.progress.busy_since = None
        said = self._line.heard(listened)
        self.progress.busy_since = time.monotonic()
        match said:
            case [acts.Step(is_followed)]:
                self._is_promised = is_followed
            case _:
                raise Diverged("a step was promised, and something else was said")
        self.progress.steps += 1

    def _carry_out(self, act: acts.AnyAct) -> None:
        match act:
            case acts.Fetch():
                self._fetch(act)
            case acts.Read(taken):
                self._read(taken)
            case acts.KeepPrompt(number):
                self._prefixes.keep_prompt(self._sequences[number])
            case acts.Join():
                self._join(act)
            case acts.Step(is_followed):
                self._is_promised = is_followed
                self._step()
            case acts.Leave(numbers):
                self._leave(numbers)
            case acts.Keep(number):
                self._keep(number)
            case acts.Drop(number):
                self._drop(number)
            case acts.Resize(limit_bytes):
                self._prefixes.resize(limit_bytes)

    def _fetch(self, asked: acts.Fetch) -> None:
        sequence = Sequence(
            RequestId(str(asked.number)),
            asked.prompt,
            max_tokens=0,
            session=None if asked.session is None else SessionId(asked.session),
            cache_key=_key(asked),
        )
        self._prefixes.fetch(sequence)
        self._sequences[asked.number] = sequence

    def _read(self, taken: list[acts.Taken]) -> None:
        sequences = [self._sequences[part.number] for part in taken]
        for sequence, part in zip(sequences, taken, strict=True):
            if sequence.done != part.done:
                raise Diverged(f"{sequence.done} tokens of a prompt are read, not {part.done}")
        tokens = [
            sequence.prompt[part.done : part.done + part.tokens]
            for sequence, part in zip(sequences, taken, strict=True)
        ]
        chunk = Chunk(sequences, tokens)
        if read(self._model, chunk, pass_by_pass=True) is not None:
            self._line.expect_whole()
        self._unswept_tokens += chunk.size
        if self._unswept_tokens > SWEEP_TOKENS:
            self._unswept_tokens = 0
            mx.clear_cache()

    def _join(self, asked: acts.Join) -> None:
        sequences = [self._sequences[number] for number in asked.numbers]
        for sequence, limit in zip(sequences, asked.limits, strict=True):
            sequence.max_tokens = sequence.generated + limit - 1
        nothing = mx.zeros(0)  # Of the leader's log-probabilities.
        drawn = [(s, token, nothing) for s, token in zip(sequences, asked.tokens, strict=True)]
        numbers = self._decoder.join(drawn)
        self._answering.update(zip(numbers, sequences, strict=True))
        for sequence, number in zip(sequences, asked.numbers, strict=True):
            sequence.cache, sequence.number = None, number

    def _step(self) -> None:
        for response in self._decoder.step():
            if response.finish_reason is not None:
                self._end(response.uid, response.all_tokens or [], response.prompt_cache or [])

    def _leave(self, numbers: list[int]) -> None:
        for number, (cache, tokens) in self._decoder.leave(numbers).items():
            self._end(number, tokens, cache)

    def _end(self, number: int, tokens: list[int], cache: Cache) -> None:
        self._ended[self._answering.pop(number).number] = (tokens, cache)

    def _keep(self, number: int) -> None:
        sequence = self._sequences.pop(number)
        read_so_far = (sequence.prompt[: sequence.done], sequence.cache)
        tokens, cache = self._ended.pop(number, read_so_far)
        if cache is None:
            raise Diverged("a sequence that has computed nothing is to be kept")
        self._prefixes.keep(sequence, tokens, cache)

    def _drop(self, number: int) -> None:
        self._sequences.pop(number, None)
        self._ended.pop(number, None)


def _key(asked: acts.Fetch) -> CacheKey | None:
    if not asked.owner:
        return None
    offset = int.from_bytes(asked.owner)
    own = [token + offset for token in asked.prompt[asked.common :]]
    return CacheKey(asked.prompt[: asked.common] + own, offset)


class _FollowingDecoder(Decoder):
    """Goes on with the tokens that the leader drew."""

    def __init__(self, model: Module, ends: Iterable[int], slots: int, joined: Joined) -> None:
        super().__init__(model, ends, slots)
        self._line = joined.line
        self._common = self._draw
        """One object, by which mlx-lm sees that all rows draw in one call."""

    def _samplers(self, numbers: list[int], sequences: list[Sequence]) -> list[Sampler]:
        return [self._common] * len(numbers)

    def _draw(self, logprobs: mx.array) -> mx.array:
        return self._line.drawn(None, after=logprobs)
