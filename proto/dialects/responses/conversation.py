"""Items to the turns that engines are asked with.

One answer of the model is one turn: what it thought, what it said and what it called, which
this dialect keeps in items of their own.
"""

from collections.abc import Iterable
from typing import Literal

from proto.dialects.asked import invalid
from proto.dialects.responses.freeform import wrapped
from proto.dialects.responses.item import (
    Compaction,
    CustomCall,
    CustomOutput,
    FunctionCall,
    FunctionOutput,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Reasoning,
    Refusal,
)
from proto.dialects.responses.item import Part as SaidPart
from proto.dialects.responses.reasoning import unsealed
from proto.dialects.responses.tool import called
from proto.prompt import ImagePart, Part, TextPart, ToolCall, Turn

SUMMARY = "The conversation up to here, in short:\n\n"


def turns(instructions: str | None, items: Iterable[Item]) -> tuple[Turn, ...]:
    """Never empty: who asks nothing asks with an empty message. Raises MeshError."""
    script = _Script(instructions)
    for item in items:
        script.add(item)
    return script.turns()


class _Script:
    def __init__(self, instructions: str | None) -> None:
        self._turns: list[Turn] = []
        self._system = [instructions] if instructions else []
        """What stands above all turns; templates take one such message, and only there."""
        self._names: dict[str, str] = {}
        """Of the tools, by the id of their calls."""
        self._thought: list[str] = []
        self._said: list[str] = []
        self._calls: list[ToolCall] = []

    def add(self, item: Item) -> None:
        match item:
            case Message(role="assistant"):
                self._expect_before(bool(self._calls))
                self._said.append(_text(item.content))
            case Message(role=role):
                self._answered()
                self._message("user" if role == "user" else "system", _content(item.content))
            case Reasoning():
                self._expect_before(bool(self._calls or self._said))
                self._thought.append(_thought(item))
            case FunctionCall():
                self._call(item.call_id, called(item.name, item.namespace), item.arguments)
            case CustomCall():
                self._call(item.call_id, called(item.name, item.namespace), wrapped(item.input))
            case FunctionOutput() | CustomOutput():
                self._output(item)
            case Compaction():
                self._answered()
                # Few templates take a system message that is not the first.
                self._message("user", SUMMARY + _unpacked(item))

    def turns(self) -> tuple[Turn, ...]:
        self._answered()
        if self._system:
            self._turns.insert(0, Turn(role="system", content="\n\n".join(self._system)))
            self._system = []
        if all(turn.role == "system" for turn in self._turns):
            self._turns.append(Turn(role="user"))
        return tuple(self._turns)

    def _message(self, role: Literal["user", "system"], content: str | tuple[Part, ...]) -> None:
        if role == "system" and not self._turns and isinstance(content, str):
            self._system.append(content)
            return
        last = self._turns[-1] if self._turns else None
        if last is not None and last.role == role:
            # Many templates insist on turns that alternate.
            content = _joined(last.content, content)
            self._turns.pop()
        self._turns.append(Turn(role=role, content=content))

    def _call(self, id: str, name: str, arguments: str) -> None:
        self._names[id] = name
        self._calls.append(ToolCall(id=id, name=name, arguments=arguments))

    def _output(self, item: FunctionOutput | CustomOutput) -> None:
        if item.call_id not in self._names:
            raise invalid(
                f"No tool call found for the output with call_id {item.call_id!r}; "
                "send the call before it.",
                "input",
            )
        self._answered()
        content = item.output if isinstance(item.output, str) else _content(item.output)
        name = self._names[item.call_id]
        self._turns.append(Turn(role="tool", content=content, call_id=item.call_id, name=name))

    def _expect_before(self, is_late: bool) -> None:
        """What would have to stand earlier in the turn begins another one."""
        if is_late:
            self._answered()

    def _answered(self) -> None:
        """The assistant's turn is over, if it had one."""
        if self._thought or self._said or self._calls:
            self._turns.append(
                Turn(
                    role="assistant",
                    content="\n".join(self._said),
                    reasoning="\n".join(self._thought),
                    calls=tuple(self._calls),
                )
            )
        self._thought, self._said, self._calls = [], [], []


def _text(parts: Iterable[SaidPart]) -> str:
    return "\n".join(
        part.refusal if isinstance(part, Refusal) else part.text
        for part in parts
        if isinstance(part, InputText | OutputText | Refusal)
    )


def _content(parts: Iterable[SaidPart]) -> str | tuple[Part, ...]:
    parts = list(parts)
    if not any(isinstance(part, InputImage) for part in parts):
        return _text(parts)
    return tuple(
        ImagePart(url=part.image_url or "")
        if isinstance(part, InputImage)
        else TextPart(text=_text([part]))
        for part in parts
    )


def _joined(
    first: str | tuple[Part, ...], second: str | tuple[Part, ...]
) -> str | tuple[Part, ...]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return (*_parts(first), *_parts(second))


def _parts(content: str | tuple[Part, ...]) -> tuple[Part, ...]:
    return (TextPart(text=content),) if isinstance(content, str) else content


def _thought(item: Reasoning) -> str:
    """The text itself, or out of what was sealed, or at least what was told of it."""
    if item.content:
        return "".join(part.text for part in item.content)
    found = unsealed(item.encrypted_content or "")
    return found if found is not None else "\n".join(part.text for part in item.summary)


def _unpacked(item: Compaction) -> str:
    summary = unsealed(item.encrypted_content)
    if summary is None:
        raise invalid(
            "A compaction item was made elsewhere and cannot be read; send what it stands for.",
            "input",
        )
    return summary
