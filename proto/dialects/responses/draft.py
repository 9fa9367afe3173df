"""Items while they are generated: each tells its own beginning, pieces and end."""

from typing import Any, Protocol

from proto.dialects.responses.freeform import Freeform
from proto.dialects.responses.item import (
    CustomCall,
    FunctionCall,
    Item,
    Message,
    OutputText,
    Reasoning,
    ReasoningText,
    Status,
    SummaryText,
)
from proto.dialects.responses.reasoning import sealed
from proto.dialects.responses.tape import Tape, delta_head
from proto.dialects.responses.tool import Offer


class Draft(Protocol):
    def open(self) -> bytes: ...

    def close(self, is_cut: bool) -> bytes:
        """What was not told yet. ``is_cut``: the answer ended before the item did."""

    def item(self, is_cut: bool) -> Item: ...


class _Draft:
    def __init__(self, tape: Tape, id: str, place: int) -> None:
        self._tape = tape
        self._id = id
        self._place = place
        self._here: dict[str, Any] = {"item_id": id, "output_index": place}

    def _added(self, item: Item) -> bytes:
        return self._tape.say("response.output_item.added", output_index=self._place, item=item)

    def _done(self, item: Item) -> bytes:
        return self._tape.say("response.output_item.done", output_index=self._place, item=item)


class MessageDraft(_Draft):
    def __init__(self, tape: Tape, id: str, place: int) -> None:
        super().__init__(tape, id, place)
        self._here |= {"content_index": 0}
        self._head = delta_head("response.output_text.delta", **self._here, logprobs=[])
        self._pieces: list[str] = []
        self._logprobs: list[Any] = []

    def open(self) -> bytes:
        begun = Message(id=self._id, role="assistant", content=[], status="in_progress")
        empty = OutputText(text="", logprobs=[])
        return self._added(begun) + self._tape.say(
            "response.content_part.added", **self._here, part=empty
        )

    def add(self, text: str, logprobs: list[Any]) -> bytes:
        self._pieces.append(text)
        if not logprobs:
            return self._tape.delta(self._head, text) if text else b""
        self._logprobs += logprobs
        return self._tape.say(
            "response.output_text.delta", **self._here, delta=text, logprobs=logprobs
        )

    def close(self, is_cut: bool) -> bytes:
        part = self._part()
        done = self._tape.say(
            "response.output_text.done", **self._here, text=part.text, logprobs=part.logprobs
        )
        done += self._tape.say("response.content_part.done", **self._here, part=part)
        return done + self._done(self.item(is_cut))

    def item(self, is_cut: bool) -> Message:
        return Message(
            id=self._id, role="assistant", content=[self._part()], status=_status(is_cut)
        )

    def _part(self) -> OutputText:
        return OutputText(text="".join(self._pieces), logprobs=self._logprobs)


class ReasoningDraft(_Draft):
    """What is thought: as the text it is, or as a summary for clients that asked for one.

    There is nobody to make a summary, so it is the whole text; told twice it would be shown twice.
    """

    def __init__(self, tape: Tape, id: str, place: int, is_summary: bool, is_sealed: bool) -> None:
        super().__init__(tape, id, place)
        self._is_summary = is_summary
        self._is_sealed = is_sealed
        self._pieces: list[str] = []
        if is_summary:
            self._here |= {"summary_index": 0}
            self._part, self._text = "response.reasoning_summary_part", "reasoning_summary_text"
        else:
            self._here |= {"content_index": 0}
            self._part, self._text = "response.content_part", "reasoning_text"
        self._head = delta_head(f"response.{self._text}.delta", **self._here)

    def open(self) -> bytes:
        begun = Reasoning(id=self._id, summary=[], status="in_progress")
        part = self._said("")
        return self._added(begun) + self._tape.say(f"{self._part}.added", **self._here, part=part)

    def add(self, text: str) -> bytes:
        self._pieces.append(text)
        return self._tape.delta(self._head, text)

    def close(self, is_cut: bool) -> bytes:
        text = "".join(self._pieces)
        done = self._tape.say(f"response.{self._text}.done", **self._here, text=text)
        done += self._tape.say(f"{self._part}.done", **self._here, part=self._said(text))
        return done + self._done(self.item(is_cut))

    def item(self, is_cut: bool) -> Reasoning:
        text = "".join(self._pieces)
        return Reasoning(
            id=self._id,
            summary=[SummaryText(text)] if self._is_summary else [],
            content=None if self._is_summary else [ReasoningText(text)],
            encrypted_content=sealed(text) if self._is_sealed else None,
            status=_status(is_cut),
        )

    def _said(self, text: str) -> SummaryText | ReasoningText:
        return SummaryText(text) if self._is_summary else ReasoningText(text)


class FunctionDraft(_Draft):
    def __init__(self, tape: Tape, id: str, place: int, call_id: str, offer: Offer) -> None:
        super().__init__(tape, id, place)
        self._call_id = call_id
        self._offer = offer
        self._head = delta_head("response.function_call_arguments.delta", **self._here)
        self._pieces: list[str] = []

    def open(self) -> bytes:
        return self._added(self._call("in_progress"))

    def add(self, arguments: str) -> bytes:
        if not arguments:
            return b""
        self._pieces.append(arguments)
        return self._tape.delta(self._head, arguments)

    def close(self, is_cut: bool) -> bytes:
        return self._tape.say(
            "response.function_call_arguments.done",
            **self._here,
            name=self._offer.name,
            arguments="".join(self._pieces),
        ) + self._done(self.item(is_cut))

    def item(self, is_cut: bool) -> FunctionCall:
        return self._call(_status(is_cut))

    def _call(self, status: Status) -> FunctionCall:
        return FunctionCall(
            id=self._id,
            call_id=self._call_id,
            name=self._offer.name,
            namespace=self._offer.namespace,
            arguments="".join(self._pieces),
            status=status,
        )


class CustomDraft(_Draft):
    """The input of a free-form tool, taken out of the JSON that the model writes."""

    def __init__(self, tape: Tape, id: str, place: int, call_id: str, offer: Offer) -> None:
        super().__init__(tape, id, place)
        self._call_id = call_id
        self._offer = offer
        self._head = delta_head("response.custom_tool_call_input.delta", **self._here)
        self._input = Freeform()

    def open(self) -> bytes:
        return self._added(self._call("in_progress"))

    def add(self, arguments: str) -> bytes:
        return self._told(self._input.add(arguments))

    def close(self, is_cut: bool) -> bytes:
        rest = self._told(self._input.end())
        done = self._tape.say(
            "response.custom_tool_call_input.done", **self._here, input=self._input.text
        )
        return rest + done + self._done(self.item(is_cut))

    def item(self, is_cut: bool) -> CustomCall:
        return self._call(_status(is_cut))

    def _told(self, text: str) -> bytes:
        return self._tape.delta(self._head, text) if text else b""

    def _call(self, status: Status) -> CustomCall:
        return CustomCall(
            id=self._id,
            call_id=self._call_id,
            name=self._offer.name,
            namespace=self._offer.namespace,
            input=self._input.text,
            status=status,
        )


def _status(is_cut: bool) -> Status:
    return "incomplete" if is_cut else "completed"
