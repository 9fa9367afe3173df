"""An answer as typed server-sent events, and the response object that they add up to."""

import time
from collections.abc import Iterator

from proto.dialects.asked import Answered, sign_of_life
from proto.dialects.responses.draft import (
    CustomDraft,
    Draft,
    FunctionDraft,
    MessageDraft,
    ReasoningDraft,
)
from proto.dialects.responses.item import (
    CustomCall,
    FunctionCall,
    Item,
    Message,
    Reasoning,
    item_id,
)
from proto.dialects.responses.replay import closing
from proto.dialects.responses.response import Response, logprobs
from proto.dialects.responses.tape import Tape
from proto.dialects.responses.tool import Offered
from proto.errors import MeshError
from proto.frames import CallDelta, Delta, End, Progress
from proto.ids import RequestId


class Events:
    """One answer. ``response`` is what it has come to; ``closing`` tells it last.

    The end of the generation is not the end of the stream: what is stored is stored before
    the client hears that the response is complete.
    """

    is_complete = False

    def __init__(
        self,
        response: Response,
        offered: Offered,
        request: RequestId,
        *,
        tells_summary: bool = False,
        seals_reasoning: bool = False,
    ) -> None:
        self.response = response
        self._offered = offered
        self._request = request
        self._tells_summary = tells_summary
        self._seals_reasoning = seals_reasoning
        self._tape = Tape()
        self._items: list[Item] = []
        self._draft: Draft | None = None
        self._call = -1

    def opening(self) -> bytes:
        """Who is queued tells it, and begins later."""
        created = self._lifecycle("created")
        if self.response.status == "queued":
            return created + self._lifecycle("queued")
        return created + self._lifecycle("in_progress")

    def begun(self) -> bytes:
        """A queued response is being worked on."""
        self.response = self.response.begun()
        return self._lifecycle("in_progress")

    def progress(self, index: int, frame: Progress) -> bytes:
        return b": prefill %d/%d\n\n" % (frame.done, frame.total)

    def waiting(self, what: str = "") -> bytes:
        return sign_of_life(what)

    def delta(self, index: int, frame: Delta) -> bytes:
        if frame.channel == "reasoning":
            return self._thought(frame.text)
        if not frame.text and not frame.logprobs:
            return b""
        if isinstance(self._draft, MessageDraft):
            return self._draft.add(frame.text, logprobs(frame.logprobs))
        before = self._close(is_cut=False)
        message = MessageDraft(self._tape, self._id(Message), len(self._items))
        told = before + self._begin(message)
        return told + message.add(frame.text, logprobs(frame.logprobs))

    def _thought(self, text: str) -> bytes:
        if not text:
            return b""
        if isinstance(self._draft, ReasoningDraft):
            return self._draft.add(text)
        before = self._close(is_cut=False)
        reasoning = ReasoningDraft(
            self._tape,
            self._id(Reasoning),
            len(self._items),
            self._tells_summary,
            self._seals_reasoning,
        )
        return before + self._begin(reasoning) + reasoning.add(text)

    def call(self, index: int, frame: CallDelta) -> bytes:
        if frame.call == self._call and isinstance(self._draft, FunctionDraft | CustomDraft):
            return self._draft.add(frame.arguments)
        before = self._close(is_cut=False)
        self._call = frame.call
        offer = self._offered.offer(frame.name)
        place = len(self._items)
        call: FunctionDraft | CustomDraft
        if offer.is_freeform:
            call = CustomDraft(self._tape, self._id(CustomCall), place, frame.id, offer)
        else:
            call = FunctionDraft(self._tape, self._id(FunctionCall), place, frame.id, offer)
        return before + self._begin(call) + call.add(frame.arguments)

    def end(self, index: int, frame: End) -> bytes:
        is_cut = frame.reason == "length"
        rest = self._close(is_cut)
        if not is_cut and not any(_is_answer(item) for item in self._items):
            rest += self._begin(MessageDraft(self._tape, self._id(Message), len(self._items)))
            rest += self._close(is_cut)
        self.response = self.response.ended(tuple(self._items), frame, int(time.time()))
        return rest

    def closing(self) -> bytes:
        """The last event, once the response is over."""
        return closing(self.response, self._tape.next)

    def fail(self, error: MeshError) -> None:
        self.response = self.response.failed(error, self.output())

    def failed(self, error: MeshError) -> bytes:
        self.fail(error)
        return self.closing()

    def cancel(self) -> None:
        self.response = self.response.cancelled(self.output())

    def output(self) -> tuple[Item, ...]:
        """What there is so far."""
        unfinished = () if self._draft is None else (self._draft.item(is_cut=True),)
        return (*self._items, *unfinished)

    def _begin(self, draft: Draft) -> bytes:
        self._draft = draft
        return draft.open()

    def _close(self, is_cut: bool) -> bytes:
        draft, self._draft = self._draft, None
        if draft is None:
            return b""
        told = draft.close(is_cut)
        self._items.append(draft.item(is_cut))
        return told

    def _id(self, type_: type) -> str:
        return item_id(type_, self._request, len(self._items))

    def _lifecycle(self, what: str) -> bytes:
        return self._tape.say(f"response.{what}", response=self.response)


def _is_answer(item: Item) -> bool:
    return isinstance(item, Message | FunctionCall | CustomCall)


def replayed(events: Events, answer: Answered) -> Iterator[bytes]:
    """The events of an answer that is there already."""
    yield events.delta(0, Delta(0, 0, answer.reasoning, (), channel="reasoning"))
    yield events.delta(0, Delta(0, 0, answer.text, (), answer.logprobs))
    for index, call in enumerate(answer.calls):
        yield events.call(0, CallDelta(0, 0, index, call.id, call.name, call.arguments, ()))
    yield events.end(0, answer.end)
