"""What OpenAI's clients receive: completions as server-sent events."""

from proto.dialects.asked import WAITING, Asked, sign_of_life
from proto.dialects.openai import envelope
from proto.dialects.openai_answer import (
    Heading,
    chat_logprobs,
    echoed,
    encode,
    finish_reason,
    piece,
    text_logprobs,
    usage,
)
from proto.dialects.openai_thoughts import detail_of
from proto.errors import MeshError
from proto.frames import CallDelta, Delta, End, Progress
from proto.frames import Usage as Spent
from proto.prompt import Thought


class _Events:
    """One answer as server-sent events. Choices interleave; the last to end closes the answer."""

    def __init__(self, asked: Asked, heading: Heading) -> None:
        self._asked = asked
        self._top = b"data: " + encode(heading)[:-1]
        self._bottom = b',"usage":null}\n\n' if asked.include_usage else b"}\n\n"
        self._spent: dict[int, Spent] = {}
        self._offsets = dict.fromkeys(range(asked.choices), 0)

    @property
    def is_complete(self) -> bool:
        return len(self._spent) == self._asked.choices

    def progress(self, index: int, frame: Progress) -> bytes:
        return b": prefill %d/%d\n\n" % (frame.done, frame.total)

    def call(self, index: int, frame: CallDelta) -> bytes:
        return b""

    def waiting(self, what: str = "") -> bytes:
        return sign_of_life(what)

    def failed(self, error: MeshError) -> bytes:
        """No [DONE] after it: the answer is not complete, and SDKs raise on the error itself."""
        return b"data: " + envelope(error) + b"\n\n"

    def _close(self) -> bytes:
        done = b"data: [DONE]\n\n"
        if not self._asked.include_usage:
            return done
        spent = encode(usage(self._asked, self._spent))
        return b'%b,"choices":[],"usage":%b}\n\n%b' % (self._top, spent, done)


class ChatEvents(_Events):
    def __init__(self, asked: Asked, heading: Heading) -> None:
        super().__init__(asked, heading)
        self._content = [
            b'%b,"choices":[{"index":%d,"delta":{"content":' % (self._top, index)
            for index in range(asked.choices)
        ]
        self._plain = b'},"logprobs":null,"finish_reason":null}]' + self._bottom
        self._silent = set(range(asked.choices))
        self._thoughts: dict[int, list[str]] = {}
        """Of each choice, what was thought since the last signature."""
        self._details = dict.fromkeys(range(asked.choices), 0)

    def delta(self, index: int, frame: Delta) -> bytes:
        if frame.channel != "content":
            return self._thought(index, frame)
        if frame.logprobs:
            tail = encode(chat_logprobs(frame.logprobs))
            return b'%b%b%b},"logprobs":%b,"finish_reason":null}]%b' % (
                self._role(index, b'""'),
                self._content[index], encode(frame.text), tail, self._bottom
            )  # fmt: skip
        if not frame.text:
            return b""
        if index in self._silent:
            return self._role(index, b'""') + self.delta(index, frame)
        return self._content[index] + encode(frame.text) + self._plain

    def call(self, index: int, frame: CallDelta) -> bytes:
        role = self._role(index, b"null")
        function = b'"arguments":%b' % encode(frame.arguments)
        if frame.id:
            function = b'"name":%b,%b' % (encode(frame.name), function)
        if not self._asked.calls_functions:
            return role + self._say(index, _tool_call(frame, function))
        if frame.call:
            return role  # The older form has room for one.
        return role + self._say(index, b'{"function_call":{%b}}' % function)

    def end(self, index: int, frame: End) -> bytes:
        self._spent[index] = frame.usage
        role = self._role(index, b'""')
        reason = finish_reason(self._asked, frame).encode()
        finish = self._say(index, b"{}", b'"%b"' % reason)
        return role + finish + (self._close() if self.is_complete else b"")

    def _thought(self, index: int, frame: Delta) -> bytes:
        if not self._asked.shows_reasoning:
            # Who waits for the answer sees that there is work on it.
            return WAITING
        told = b""
        if frame.text:
            self._thoughts.setdefault(index, []).append(frame.text)
            said = encode(frame.text)
            told = self._say(index, b'{"reasoning_content":%b,"reasoning":%b}' % (said, said))
        if frame.signature or frame.sealed:
            told += self._say(index, self._detail(index, frame))
        return self._role(index, b"null") + told if told else b""

    def _detail(self, index: int, frame: Delta) -> bytes:
        """The whole block at its end: by then it is signed."""
        if frame.sealed:
            thought = Thought(sealed=frame.sealed)
        else:
            text = "".join(self._thoughts.pop(index, ()))
            thought = Thought(text=text, signature=frame.signature)
        self._details[index] += 1
        detail = detail_of(thought, self._details[index] - 1)
        return b'{"reasoning_details":[%b]}' % encode(detail)

    def _role(self, index: int, content: bytes) -> bytes:
        """Who speaks, before the first that is said."""
        if index not in self._silent:
            return b""
        self._silent.discard(index)
        return self._say(index, b'{"role":"assistant","content":%b,"refusal":null}' % content)

    def _say(self, index: int, delta: bytes, finish: bytes = b"null") -> bytes:
        return b'%b,"choices":[{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}]%b' % (
            self._top, index, delta, finish, self._bottom
        )  # fmt: skip


def _tool_call(frame: CallDelta, function: bytes) -> bytes:
    named = b'"id":%b,"type":"function",' % encode(frame.id) if frame.id else b""
    return b'{"tool_calls":[{"index":%d,%b"function":{%b}}]}' % (frame.call, named, function)


class TextEvents(_Events):
    def __init__(self, asked: Asked, heading: Heading) -> None:
        super().__init__(asked, heading)
        self._echoes = {choice: echoed(asked, choice) for choice in range(asked.choices)}

    def progress(self, index: int, frame: Progress) -> bytes:
        return self._echo(index) or super().progress(index, frame)

    def delta(self, index: int, frame: Delta) -> bytes:
        echo = self._echo(index)
        logprobs = b"null"
        if frame.logprobs:
            logprobs = encode(text_logprobs(frame.logprobs, self._offsets[index]))
            self._offsets[index] += sum(len(piece(p.chosen)) for p in frame.logprobs)
        elif not frame.text:
            return echo
        return echo + self._choice(index, encode(frame.text), logprobs, b"null")

    def end(self, index: int, frame: End) -> bytes:
        self._spent[index] = frame.usage
        reason = b'"length"' if frame.reason == "length" else b'"stop"'
        finish = self._choice(index, b'""', b"null", reason)
        return self._echo(index) + finish + (self._close() if self.is_complete else b"")

    def _echo(self, index: int) -> bytes:
        """The prompt, once, where it is to be repeated."""
        text = self._echoes.pop(index, "")
        return self._choice(index, encode(text), b"null", b"null") if text else b""

    def _choice(self, index: int, text: bytes, logprobs: bytes, finish: bytes) -> bytes:
        return b'%b,"choices":[{"index":%d,"text":%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._top, index, text, logprobs, finish, self._bottom
        )  # fmt: skip
