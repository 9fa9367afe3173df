"""A response that is over, told once more: as it would have been had it come in one piece."""

from collections.abc import Iterator

from msgspec.structs import replace

from proto.dialects.responses.draft import (
    CustomDraft,
    FunctionDraft,
    MessageDraft,
    ReasoningDraft,
)
from proto.dialects.responses.freeform import wrapped
from proto.dialects.responses.item import (
    CustomCall,
    FunctionCall,
    Item,
    Message,
    OutputText,
    Reasoning,
)
from proto.dialects.responses.response import Response
from proto.dialects.responses.tape import Tape
from proto.dialects.responses.tool import Offer
from proto.errors import MeshError


def retold(response: Response) -> Iterator[bytes]:
    """Every event, numbered from 0; the same with every call."""
    tape = Tape()
    begun = replace(
        response, status="in_progress", output=(), usage=None, error=None,
        incomplete_details=None, completed_at=None,
    )  # fmt: skip
    yield tape.say("response.created", response=begun)
    yield tape.say("response.in_progress", response=begun)
    for place, item in enumerate(response.output):
        yield from _split(_item(tape, item, place))
    yield closing(response, tape.next)


def closing(response: Response, number: int) -> bytes:
    """The last event of a response that is over. A cancelled one has none of its own."""
    status = response.status
    what = "incomplete" if status == "cancelled" else status
    return Tape(number).say(f"response.{what}", response=response)


def trouble(error: MeshError, number: int) -> bytes:
    """The stream cannot go on, whatever becomes of the response."""
    return Tape(number).say("error", code=error.code.word, message=error.message, param=error.param)


def _item(tape: Tape, item: Item, place: int) -> bytes:
    is_cut = getattr(item, "status", None) == "incomplete"
    match item:
        case Message():
            message = MessageDraft(tape, item.id, place)
            told = message.open()
            for part in item.content:
                if isinstance(part, OutputText):
                    told += message.add(part.text, part.logprobs or [])
            return told + message.close(is_cut)
        case Reasoning():
            parts = item.summary or item.content or []
            is_sealed = item.encrypted_content is not None
            reasoning = ReasoningDraft(tape, item.id, place, bool(item.summary), is_sealed)
            told = reasoning.open() + reasoning.add("".join(part.text for part in parts))
            return told + reasoning.close(is_cut)
        case FunctionCall():
            offer = Offer(item.name, item.namespace, False)
            function = FunctionDraft(tape, item.id, place, item.call_id, offer)
            told = function.open() + function.add(item.arguments)
            return told + function.close(is_cut)
        case CustomCall():
            offer = Offer(item.name, item.namespace, True)
            custom = CustomDraft(tape, item.id, place, item.call_id, offer)
            told = custom.open() + custom.add(wrapped(item.input))
            return told + custom.close(is_cut)
        case _:
            raise AssertionError("no answer holds what only tools and clients say")


def _split(body: bytes) -> Iterator[bytes]:
    return (event + b"\n\n" for event in body.split(b"\n\n") if event)
