"""One request inside the engine, from its arrival to its last frame."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import mlx.core as mx
from msgspec.structs import replace

from proto.frames import AnyFrame, CallDelta, Delta, End, PositionLogprobs, Timings, Usage
from proto.generation import FinishReason, Generate, Sampling
from proto.ids import KeyId, RequestId, SessionId
from proto.placement import Priority
from services.runner.engine.answer.channels import Channels, Over, Piece, Plain, Said
from services.runner.engine.batching.sampling import Processor, Sampler, greedy
from services.runner.engine.caching.cache import Cache
from services.runner.engine.caching.cache_key import CacheKey, cache_key
from services.runner.engine.caching.marks import Mark, marks_of
from services.runner.engine.constraints.guide import Guide
from services.runner.engine.constraints.outline import PLAIN, Outline
from services.runner.engine.loading import LoadedModel
from services.runner.engine.queueing.fairness import NOBODY, Share
from services.runner.engine.vision.sight import Sight

GROWTH = 128
"""Tokens of an answer to come that room is kept for; how long it will be nobody knows."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Sequence:
    """What was asked for, and how far it is. Touched by the model's thread alone once submitted."""

    request: RequestId
    prompt: list[int]
    """What is to be read: after a pause, that is what was answered until then as well."""
    max_tokens: int
    """As granted: the context has room for them."""
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    session: SessionId | None = None
    epoch: int = 0
    expires_at: float | None = None
    """Monotonic seconds."""
    key: KeyId = NOBODY
    weight: float = 1.0
    priority: Priority = "interactive"
    outline: Outline = PLAIN
    sight: Sight | None = None
    """The pictures of its prompt."""
    cache_key: CacheKey | None = None
    """How the prefix cache knows its tokens; None: by themselves."""
    marks: tuple[Mark, ...] = ()
    """How the mesh knows beginnings of its prompt."""
    arrived_at: float = field(default_factory=time.monotonic)

    share: Share = field(default_factory=Share)
    """What its key has had of the engine."""
    is_due: bool = False
    """A batch request that was next in spite of interactive ones."""
    prompt_tokens: int = 0
    """Of the prompt that was asked with."""
    pending: tuple[int, mx.array] | None = None
    """The next token, drawn before a pause, and the log-probabilities that it was drawn from."""

    forced: int | None = None
    """The token that comes next, whatever is drawn: the last that a lost engine said."""
    delivered: int = 0
    """Frames of that token, and of a turn that ended with it, that the client has."""
    ran_before: bool = False
    """It had to give way before it was over, or its engine was lost."""

    number: int = -1
    """By which other ranks know it."""
    seq: int = 0
    """The number of its next frame."""
    cached: int = 0
    """Prompt tokens out of the prefix cache."""
    done: int = 0
    """Prompt tokens in its KV cache, those out of the prefix cache included."""
    matched_at: int = -1
    """The version of the prefix cache that ``cached`` was read from."""
    cache: Cache | None = None
    """Its KV cache, from its first prefill chunk until it joins the decoding batch."""
    generated: int = 0
    """Tokens of the answer; one that ends the model's turn is none of them."""
    sampler: Sampler = greedy
    """Its own, and its processors, from admission on."""
    processors: list[Processor] = field(default_factory=list)
    answer: Plain | Channels | None = None
    guide: Guide | None = None

    admitted_at: float = 0.0
    progress_at: float = 0.0
    first_token_at: float = 0.0

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.prompt)
        if self.sight is not None and self.cache_key is None:
            self.cache_key = CacheKey(self.sight.keys)

    @classmethod
    def of(
        cls,
        asked: Generate,
        prompt: list[int],
        max_tokens: int,
        outline: Outline = PLAIN,
        sight: Sight | None = None,
        common: int = 0,
    ) -> "Sequence":
        """The first ``common`` tokens of the prompt are not its owner's alone."""
        known, owner = prompt if sight is None else sight.keys, asked.privacy.owner
        return cls(
            request=asked.request,
            prompt=prompt,
            max_tokens=max_tokens,
            sampling=asked.sampling,
            stop=asked.stop,
            logprobs=asked.logprobs,
            session=asked.session,
            epoch=asked.epoch,
            key=asked.key,
            weight=asked.weight,
            priority=asked.priority,
            outline=outline,
            sight=sight,
            cache_key=cache_key(known, owner, common) if owner else None,
            marks=marks_of(asked.prompt, len(prompt), asked.privacy),
        )

    @property
    def remaining(self) -> int:
        """Prompt tokens still to be prefilled."""
        return len(self.prompt) - self.done

    @property
    def length(self) -> int:
        """Tokens of prompt and answer that there are."""
        return self.prompt_tokens + self.generated

    @property
    def claim(self) -> int:
        """Tokens that there are or soon will be."""
        return self.length + min(self.max_tokens - self.generated, GROWTH)

    @property
    def tokens_left(self) -> int:
        """That it may have in the decoding batch, the first of them drawn already."""
        return self.max_tokens - self.generated + 1

    @property
    def was_admitted(self) -> bool:
        """It goes on with what it was given then."""
        return self.admitted_at > 0

    def know(self, cached: int) -> None:
        """So many of its tokens are known to the prefix cache, so need not be read."""
        self.done = cached
        if not self.ran_before:
            self.cached = cached

    def prepare(self, model: LoadedModel) -> None:
        """What tells its answer apart, and what the answer is held to. On any thread."""
        before = self.prompt[self.prompt_tokens - 1]
        self.answer = self.outline.answer(model.pieces, before, self.stop)
        self.guide = self.outline.guide(model, before)

    def pause(self) -> None:
        """It gives its memory back; what it has read and said so far is read again."""
        self.ran_before = True
        self.cache, self.done, self.matched_at = None, 0, -1

    def prefix_key(self, tokens: list[int]) -> list[int]:
        """How the prefix cache knows the first of its tokens, prompt and answer."""
        return tokens if self.cache_key is None else self.cache_key.of(tokens)

    @property
    def held(self) -> Cache:
        assert self.cache is not None, "only a sequence between two chunks holds a cache"
        return self.cache

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq - 1

    def took(
        self, token: int, details: tuple[PositionLogprobs, ...] = ()
    ) -> tuple[list[AnyFrame], Over | None]:
        """A token of the answer: its frames, and how the answer ends if it does."""
        answer = self.answer
        assert answer is not None, "an admitted sequence has an answer"
        self.generated += 1
        if self.generated >= self.max_tokens:
            pieces, over = answer.last(token)
            return self._frames(pieces, (token,), details), over or Over("length")
        if answer.free is not None:
            self.seq += 1
            text = answer.free(token)
            return [Delta(self.epoch, self.seq - 1, text, (token,), details)], None
        pieces, over = answer.push(token)
        return self._frames(pieces, (token,), details), over

    def turn_ended(self) -> tuple[list[AnyFrame], Over]:
        """The model ended its turn."""
        pieces, over = self.said.finish()
        return self._frames(pieces, ()), over or Over("tool_calls" if self.said.calls else "stop")

    def undelivered(
        self, frames: list[AnyFrame], over: Over | None
    ) -> tuple[list[AnyFrame], Over | None]:
        """Of the frames of a forced token those that the client does not have.

        If it has more than the token makes, the rest is of the turn, which had ended.
        """
        if over is None and self.delivered > len(frames):
            flushed, over = self.turn_ended()
            frames = frames + flushed
        known, self.delivered = min(self.delivered, len(frames)), 0
        self.seq -= known
        return [replace(frame, seq=frame.seq - known) for frame in frames[known:]], over

    def _frames(
        self,
        pieces: Iterable[Piece],
        tokens: tuple[int, ...],
        details: tuple[PositionLogprobs, ...] = (),
    ) -> list[AnyFrame]:
        """A frame for each piece; the tokens go with the first, their logprobs with content."""
        made: list[AnyFrame] = []
        for piece in pieces:
            if isinstance(piece, Said):
                is_content = piece.channel == "content"
                given, details = (details, ()) if is_content else ((), details)
                made.append(
                    Delta(self.epoch, self.next_seq(), piece.text, tokens, given, piece.channel)
                )
            else:
                made.append(CallDelta(self.epoch, self.next_seq(), *piece, tokens))
            tokens = ()
        if tokens:
            answer = self.said
            given = details if answer.is_content else ()
            made.append(Delta(self.epoch, self.next_seq(), "", tokens, given, answer.channel))
        return made

    @property
    def said(self) -> Plain | Channels:
        assert self.answer is not None, "an admitted sequence has an answer"
        return self.answer

    def end(self, reason: FinishReason, stop: str | None, now: float) -> End:
        return End(
            self.epoch,
            self.next_seq(),
            reason,
            Usage(self.prompt_tokens, self.generated, self.cached, self.said.reasoning_tokens),
            Timings(
                queued_s=self.admitted_at - self.arrived_at,
                prefill_s=self.first_token_at - self.admitted_at,
                decode_s=now - self.first_token_at,
            ),
            stop,
        )
