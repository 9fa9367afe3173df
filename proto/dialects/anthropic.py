"""What Anthropic's clients send to /v1/messages and /v1/messages/count_tokens."""

from itertools import groupby
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from proto.dialects.asked import Asked, Count, Empty, Ignored, NonEmpty, decode
from proto.errors import Code, MeshError
from proto.ids import ModelId, SessionId
from proto.inference import Chat, CountTokens, Sampling, Turn

TEXT_ONLY = "only text can be read; send blocks of type text"
NO_TOOLS = "tools cannot be called yet; leave it out"
NOT_YET = {
    "messages.content": TEXT_ONLY,
    "messages.role": "use user or assistant; the system prompt goes into `system`",
    "system": TEXT_ONLY,
    "tools": NO_TOOLS,
    "tool_choice": "tools cannot be called yet; leave it out, or say none or auto",
    "thinking": "thinking cannot be steered yet; leave it out, or disable it",
    "output_config": "neither effort nor format can be promised; leave it out",
    "output_format": "no format can be promised; ask for JSON in the prompt",
    "container": "there are no containers; leave it out",
    "mcp_servers": NO_TOOLS,
    "context_management": "the context is not edited; leave it out",
    "diagnostics": "there are no diagnostics; leave it out",
    "speed": "there is one speed; leave it out, or say standard",
}

Probability = Annotated[float, Meta(ge=0, le=1)]


class Block(Struct, forbid_unknown_fields=True, kw_only=True):
    """A piece of text in a turn or in the system prompt."""

    type: Literal["text"]
    text: NonEmpty
    cache_control: Ignored = None
    """Every prefix is cached; markers change nothing."""
    citations: Empty | None = None


Content = NonEmpty | Annotated[list[Block], Meta(min_length=1)]


class InputMessage(Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: Content


class Metadata(Struct, forbid_unknown_fields=True):
    user_id: str | None = None
    session_id: str | None = None


class Disabled(Struct, forbid_unknown_fields=True):
    type: Literal["disabled"]


class ToolChoice(Struct, forbid_unknown_fields=True):
    type: Literal["auto", "none"]
    disable_parallel_tool_use: bool | None = None


class Conversation(Struct, forbid_unknown_fields=True, kw_only=True):
    """What both endpoints understand. ``null`` is the same as leaving a field out."""

    model: NonEmpty
    messages: Annotated[list[InputMessage], Meta(min_length=1)]
    """When the last one is the assistant's, the answer goes on from its end."""
    system: str | list[Block] | None = None
    tools: Empty | None = None
    tool_choice: ToolChoice | None = None
    thinking: Disabled | None = None
    output_config: None = None
    output_format: None = None
    mcp_servers: Empty | None = None
    context_management: None = None
    cache_control: Ignored = None
    speed: Literal["standard"] | None = None
    user_profile_id: str | None = None

    def prompt(self) -> Chat:
        turns = [Turn(role=role, content=content) for role, content in self._merged()]
        system = _joined(self.system or "")
        if system:
            turns.insert(0, Turn(role="system", content=system))
        return Chat(turns=tuple(turns), continues_last=turns[-1].role == "assistant")

    def _merged(self) -> list[tuple[Literal["user", "assistant"], str]]:
        """Turns that follow one another in the same role are one, as with the vendor."""
        return [
            (role, "\n".join(_joined(message.content) for message in run))
            for role, run in groupby(self.messages, key=lambda message: message.role)
        ]


def _joined(content: str | list[Block]) -> str:
    return content if isinstance(content, str) else "\n".join(block.text for block in content)


class MessagesRequest(Conversation, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Count
    temperature: Probability | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    stop_sequences: list[NonEmpty] | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    session_id: NonEmpty | None = None
    """Ours: the conversation whose cache is worth keeping; the header X-Session-Id wins."""
    service_tier: str | None = None
    inference_geo: str | None = None
    container: None = None
    diagnostics: None = None

    def asked(self) -> Asked:
        session = self.session_id or self._named_by_metadata()
        return Asked(
            model=ModelId(self.model),
            prompts=(self.prompt(),),
            sampling=Sampling(
                temperature=1.0 if self.temperature is None else self.temperature,
                top_p=1.0 if self.top_p is None else max(self.top_p, 1e-6),
                top_k=self.top_k or 0,
            ),
            max_tokens=self.max_tokens,
            stop=tuple(self.stop_sequences or ()),
            session=SessionId(session) if session else None,
            stream=bool(self.stream),
            include_usage=True,
        )

    def _named_by_metadata(self) -> str | None:
        if self.metadata is None:
            return None
        return self.metadata.session_id or self.metadata.user_id


class CountRequest(Conversation, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/messages/count_tokens."""


_MESSAGES = msgspec.json.Decoder(MessagesRequest)
_COUNT = msgspec.json.Decoder(CountRequest)


def asked_messages(body: bytes) -> Asked:
    """Raises MeshError."""
    return decode(_MESSAGES, body, NOT_YET).asked()


def asked_count(body: bytes) -> CountTokens:
    """Raises MeshError."""
    request = decode(_COUNT, body, NOT_YET)
    return CountTokens(model=ModelId(request.model), prompt=request.prompt())


class TokenCount(Struct, frozen=True):
    input_tokens: int


class Problem(Struct, frozen=True):
    type: str
    message: str


class ErrorBody(Struct, frozen=True, tag_field="type", tag="error"):
    """What every refusal looks like in this dialect."""

    error: Problem
    request_id: str | None


_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def envelope(error: MeshError, request_id: str | None) -> bytes:
    problem = Problem(type_of(error.code), error.message)
    return msgspec.json.encode(ErrorBody(problem, request_id))


def type_of(code: Code) -> str:
    """The vendor's word for what went wrong."""
    rest = "invalid_request_error" if code.status < 500 else "api_error"
    return _TYPES.get(code.status, rest)
