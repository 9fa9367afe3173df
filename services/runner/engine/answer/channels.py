"""An answer as it arrives: a token in; what the model says, thinks and calls out.

Knows nothing of frames. The markers between the channels are left out, and no
beginning of one gets through before it is certain that it is none.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from proto.frames import Channel
from proto.generation import FinishReason
from services.runner.engine.answer.splitting import NORMAL, REASONING, TOOL, Machine, Splitter, Stop
from services.runner.engine.calls.family import CallText, Reader
from services.runner.engine.text import Pieces


class Said(NamedTuple):
    text: str
    channel: Channel = "content"


class Over(NamedTuple):
    """The answer ends here, before the model ended its turn."""

    reason: FinishReason
    stop: str | None = None
    """The stop string that was met."""


Piece = Said | CallText
Step = tuple[Sequence[Piece], Over | None]
"""What a token made certain, in order."""


class Plain:
    """An answer of a model that marks nothing: all of it is content."""

    calls = 0
    reasoning_tokens = 0
    channel: Channel = "content"
    """Of a token that made nothing certain."""
    is_content = True
    """Whether such a token belongs to the content."""

    def __init__(self, pieces: Pieces, before: int, stops: tuple[str, ...] = ()) -> None:
        """``before`` is the prompt's last token, to which the answer joins."""
        self._detokenizer = pieces.detokenizer(before)
        self._stop = Stop(stops) if (stops := tuple(filter(None, stops))) else None
        self.free: Callable[[int], str] | None = None if self._stop else self._detokenizer.push
        """From a token to its text where nothing is looked for in it: the shortest way."""

    def push(self, token: int) -> Step:
        text, met = self._detokenizer.push(token), None
        if self._stop is not None:
            text, met = self._stop.push(text)
        return _content(text, met)

    def last(self, token: int) -> Step:
        """One more token, after which none will come."""
        return self._end(self._detokenizer.push(token) + self._detokenizer.finish())

    def finish(self) -> Step:
        """What was held back: a broken character, or the start of a stop that never came."""
        return self._end(self._detokenizer.finish())

    def _end(self, text: str) -> Step:
        if self._stop is None:
            return _content(text, None)
        text, met = self._stop.push(text)
        return _content(text if met else text + self._stop.flush(), met)


def _content(text: str, met: str | None) -> Step:
    over = Over("stop_sequence", met) if met is not None else None
    return ((Said(text),) if text else ()), over


class Channels:
    """An answer in which thinking and calls are marked.

    Newlines that follow a block of thinking are no part of the content, nor is
    space around calls. ``is_formatted`` content is taken as it is: once it has
    begun, no marker in it counts.
    """

    free = None

    def __init__(
        self,
        pieces: Pieces,
        before: int,
        stops: tuple[str, ...],
        machine: Machine,
        state: str,
        reader: Reader | None,
        *,
        is_parallel: bool = True,
        is_formatted: bool = False,
    ) -> None:
        """``reader`` is None where no calls are looked for."""
        self._detokenizer = pieces.detokenizer(before)
        self._splitter = Splitter(machine, state)
        self._stop = Stop(stops) if (stops := tuple(filter(None, stops))) else None
        self._reader = reader
        self._is_parallel = is_parallel
        self._is_formatted = is_formatted
        self._state = state
        self._blank: str | None = ""
        """Space that the content may begin with; None once it has begun."""
        self._trims = False
        """The content begins after a block of thinking."""
        self._out: list[Piece] = []
        self._over: Over | None = None
        self._tokens = _Tokens(is_thinking=state == REASONING)
        self.channel: Channel = "content"
        self.is_content = True

    @property
    def calls(self) -> int:
        return self._reader.calls if self._reader is not None else 0

    @property
    def reasoning_tokens(self) -> int:
        return self._tokens.thought

    def push(self, token: int) -> Step:
        before = self._state
        self._hear(token)
        self._place(before)
        return self._step()

    def last(self, token: int) -> Step:
        """One more token, after which none will come."""
        before = self._state
        self._hear(token)
        self._close()
        self._place(before)
        return self._step()

    def finish(self) -> Step:
        """What was held back, now that the model has ended its turn."""
        self._close()
        return self._step()

    def _step(self) -> Step:
        out, self._out = self._out, []
        return out, self._over

    def _place(self, before: str) -> None:
        self.is_content = before == self._state == NORMAL
        self.channel = "reasoning" if REASONING in (before, self._state) else "content"

    def _hear(self, token: int) -> None:
        self._tokens.more(is_held=bool(self._splitter.held))
        self._read(self._detokenizer.push(token))

    def _close(self) -> None:
        if self._over is not None:
            return
        self._read(self._detokenizer.finish())
        if self._over is None:
            self._enter(self._state, self._splitter.flush())
        if self._state == TOOL and self._reader is not None:
            self._out += self._reader.finish()
        if self._blank and not self._trims and not self.calls:
            self._speak(self._blank)
        self._flush_stop()

    def _read(self, text: str) -> None:
        if self._is_formatted:
            self._read_formatted(text)
            return
        for state, part in self._splitter.push(text):
            self._enter(state, part)
            if self._over is not None:
                break

    def _read_formatted(self, text: str) -> None:
        for at, letter in enumerate(text):
            if self._over is not None:
                break
            if self._blank is None:
                self._speak(self._splitter.flush() + text[at:])
                break
            for state, part in self._splitter.push(letter):
                self._enter(state, part)

    def _enter(self, state: str, text: str) -> None:
        """The next text, which is all of one state."""
        if state != self._state:
            self._leave()
            self._state = state
            if state == REASONING:
                self._tokens.begin_thinking(is_first=self._blank is not None)
        if not text or self._over is not None:
            return
        if state == NORMAL:
            self._say(text)
        elif state == REASONING:
            self._add(text, "reasoning")
        elif state == TOOL:
            self._call(text)

    def _leave(self) -> None:
        if self._state == NORMAL:
            self._flush_stop()
        elif self._state == REASONING:
            self._tokens.end_thinking()
            self._blank, self._trims = "", not self._is_formatted
        elif self._state == TOOL and self._reader is not None:
            self._out += self._reader.end_section()
            self._blank, self._trims = "", False
            if self._reader.calls and not self._is_parallel:
                self._over = Over("tool_calls")

    def _call(self, text: str) -> None:
        assert self._reader is not None, "without a reader no marker leads to a call"
        for made in self._reader.push(text):
            if made.call and not self._is_parallel:
                self._over = Over("tool_calls")
                break
            self._out.append(made)

    def _say(self, text: str) -> None:
        if self._blank is not None:
            text = self._blank + text
            if self._trims:
                text = text.lstrip("\n")
            if text.isspace() or not text:
                self._blank = text
                return
            self._blank = None
        self._speak(text)

    def _speak(self, text: str) -> None:
        met = None
        if self._stop is not None:
            text, met = self._stop.push(text)
        if text:
            self._add(text, "content")
        if met is not None:
            self._over = Over("stop_sequence", met)

    def _flush_stop(self) -> None:
        if self._stop is not None and self._over is None and (held := self._stop.flush()):
            self._add(held, "content")

    def _add(self, text: str, channel: Channel) -> None:
        last = self._out[-1] if self._out else None
        if isinstance(last, Said) and last.channel == channel:
            self._out[-1] = Said(last.text + text, channel)
        else:
            self._out.append(Said(text, channel))


class _Tokens:
    """Counts the tokens of thinking, from the first of the opening marker to the closing one's."""

    def __init__(self, *, is_thinking: bool) -> None:
        self._seen = 0
        self._unheld = 0
        """How many there were before those that may be part of a marker."""
        self._since: int | None = 0 if is_thinking else None
        self._ended_at = 0
        self._done = 0

    @property
    def thought(self) -> int:
        return self._done + (self._seen - self._since if self._since is not None else 0)

    def more(self, *, is_held: bool) -> None:
        if not is_held:
            self._unheld = self._seen
        self._seen += 1

    def begin_thinking(self, *, is_first: bool) -> None:
        """``is_first``: nothing was said before it, so that all tokens belong to it."""
        is_all = is_first and not self._ended_at
        self._since = 0 if is_all else max(self._unheld, self._ended_at)

    def end_thinking(self) -> None:
        self._done, self._since, self._ended_at = self.thought, None, self._seen
