"""What clients receive: the response object, its usage and its error."""

from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from proto.dialects.openai_answer import IMPOSSIBLE
from proto.dialects.openai_tools import Mode
from proto.dialects.responses.item import Item
from proto.dialects.responses.request import (
    AnyFormat,
    CreateRequest,
    Metadata,
    ReasoningWish,
    TextWish,
)
from proto.dialects.responses.tool import AnyTool, Offered
from proto.errors import Code, MeshError
from proto.frames import End, PositionLogprobs, TokenLogprob
from proto.frames import Usage as Spent
from proto.ids import RequestId

State = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ErrorCode = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]

OVER: frozenset[State] = frozenset({"completed", "incomplete", "failed", "cancelled"})

_encode = msgspec.json.Encoder().encode


class InputDetails(Struct, frozen=True):
    cached_tokens: int
    cache_write_tokens: int = 0
    """Always 0: the cache is filled on its own account, and nobody pays for it."""


class OutputDetails(Struct, frozen=True):
    reasoning_tokens: int


class Usage(Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Error(Struct, frozen=True):
    """Why a response failed, in the few words the vendor has for it."""

    code: ErrorCode
    message: str


class Incomplete(Struct, frozen=True):
    reason: Literal["max_output_tokens"]


class ReasoningSetting(Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None


class Response(Struct, frozen=True, kw_only=True):
    """An answer, from the moment it is queued."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    """Unix time in seconds."""
    completed_at: int | None = None
    status: State
    background: bool = False
    error: Error | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: Metadata = {}
    model: str
    output: tuple[Item, ...] = ()
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: ReasoningSetting = ReasoningSetting()
    safety_identifier: str | None = None
    service_tier: Literal["default"] = "default"
    store: bool = True
    """False as well where it could not be stored."""
    temperature: float = 1.0
    text: TextWish = msgspec.field(default_factory=lambda: TextWish(format=AnyFormat()))
    tool_choice: Mode | dict[str, Any] = "auto"
    tools: tuple[AnyTool, ...] = ()
    top_logprobs: int = 0
    top_p: float = 1.0
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: Usage | None = None
    user: str | None = None

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    def encoded(self) -> bytes:
        return _encode(self)

    def begun(self) -> "Response":
        return replace(self, status="in_progress")

    def ended(self, output: tuple[Item, ...], end: End, now_s: int) -> "Response":
        is_cut = end.reason == "length"
        return replace(
            self,
            status="incomplete" if is_cut else "completed",
            incomplete_details=Incomplete("max_output_tokens") if is_cut else None,
            completed_at=None if is_cut else now_s,
            output=output,
            usage=usage(end.usage),
        )

    def failed(self, error: MeshError, output: tuple[Item, ...] = ()) -> "Response":
        return replace(
            self, status="failed", error=Error(_code(error.code), error.message), output=output
        )

    def unstored(self) -> "Response":
        return replace(self, store=False)

    def cancelled(self, output: tuple[Item, ...] = ()) -> "Response":
        return replace(self, status="cancelled", output=output)


class Deleted(Struct, frozen=True):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ItemPage(Struct, frozen=True, kw_only=True):
    """A piece of the list of items."""

    object: Literal["list"] = "list"
    data: tuple[Item, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class TokenCount(Struct, frozen=True):
    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class Compacted(Struct, frozen=True, kw_only=True):
    """A conversation in short, to be sent as the beginning of the next input."""

    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: tuple[Item, ...]
    usage: Usage


def response_id(request: RequestId) -> str:
    return f"resp_{request}"


def opened(
    request: CreateRequest, offered: Offered, model: str, id: RequestId, now_s: int
) -> Response:
    """The response before anything is generated."""
    wish = request.reasoning or ReasoningWish()
    text = request.text or TextWish()
    return Response(
        id=response_id(id),
        created_at=now_s,
        status="queued" if request.background else "in_progress",
        background=bool(request.background),
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        max_tool_calls=request.max_tool_calls,
        metadata=request.metadata or {},
        model=model,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        previous_response_id=request.previous_response_id,
        prompt_cache_key=request.prompt_cache_key,
        reasoning=ReasoningSetting(wish.effort, wish.summary or wish.generate_summary),
        safety_identifier=request.safety_identifier,
        store=request.is_stored,
        temperature=1.0 if request.temperature is None else request.temperature,
        text=TextWish(format=text.format or AnyFormat(), verbosity=text.verbosity),
        tool_choice=request.tool_choice or "auto",
        tools=offered.said,
        top_logprobs=request.top_logprobs or 0,
        top_p=1.0 if request.top_p is None else request.top_p,
        truncation=request.truncation or "disabled",
        user=request.user,
    )


def usage(spent: Spent) -> Usage:
    return Usage(
        input_tokens=spent.prompt_tokens,
        input_tokens_details=InputDetails(spent.cached_tokens),
        output_tokens=spent.completion_tokens,
        output_tokens_details=OutputDetails(spent.reasoning_tokens),
        total_tokens=spent.prompt_tokens + spent.completion_tokens,
    )


def _code(code: Code) -> ErrorCode:
    if code.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if code.status < 500 else "server_error"


def logprobs(positions: tuple[PositionLogprobs, ...]) -> list[dict[str, Any]]:
    return [
        _logprob(position.chosen) | {"top_logprobs": [_logprob(top) for top in position.top]}
        for position in positions
    ]


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": token.piece.decode(errors="replace"),
        "bytes": list(token.piece),
        "logprob": max(token.logprob, IMPOSSIBLE),
    }
