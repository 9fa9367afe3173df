"""What clients send to /v1/responses, /v1/responses/input_tokens and /v1/responses/compact."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from proto.dialects.asked import (
    Asked,
    Count,
    Empty,
    Ignored,
    Name,
    decode,
    given,
    invalid,
    tier,
)
from proto.dialects.openai_format import FormatName, schema
from proto.dialects.openai_tools import Mode
from proto.dialects.responses import item, tool
from proto.dialects.responses.conversation import turns
from proto.dialects.responses.item import Item
from proto.dialects.responses.tool import Offered, chosen
from proto.format import Format, JsonObject
from proto.generation import Sampling
from proto.ids import ModelId, SessionId
from proto.prompt import Chat, Effort, Thinking

NOT_YET = item.NOT_YET | tool.NOT_YET | {
    "context_management": "the context is not managed; POST /v1/responses/compact, or leave it out",
    "conversation": "conversations are not kept; send previous_response_id, or all of its items",
    "moderation": "nothing is moderated; leave it out",
    "prompt": "prompts are not kept; send instructions and input",
    "text.format.type": "there are text, json_object and json_schema",
}  # fmt: skip

Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
SaidEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Detail = Literal["auto", "concise", "detailed"]
Label = Annotated[str, Meta(max_length=64)]
Metadata = Annotated[dict[Label, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
Input = str | Annotated[
    list[dict[str, Any]],
    Meta(description="Items: messages, reasoning, calls of tools and what they gave out."),
]  # fmt: skip


class ReasoningWish(Struct, forbid_unknown_fields=True, kw_only=True):
    effort: SaidEffort | None = None
    """``none`` turns thinking off, ``max`` is the same as ``xhigh``."""
    summary: Detail | None = None
    """Any: what was thought is told as a summary, unabridged; left out: as reasoning text."""
    generate_summary: Detail | None = None
    """The older name of ``summary``."""
    context: Ignored = None
    mode: Ignored = None

    @property
    def is_summarised(self) -> bool:
        return (self.summary or self.generate_summary) is not None

    def thinking(self) -> Thinking:
        if self.effort == "none":
            return Thinking(enabled=False, effort="none")
        effort: Effort | None = "xhigh" if self.effort == "max" else self.effort
        return Thinking(effort=effort)


class AnyFormat(Struct, forbid_unknown_fields=True, tag="text"):
    """Anything."""


class JsonFormat(Struct, forbid_unknown_fields=True, tag="json_object"):
    """Any JSON object."""


class SchemaFormat(Struct, forbid_unknown_fields=True, kw_only=True, tag="json_schema"):
    """JSON that satisfies a schema, strict or not."""

    name: FormatName
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextWish(Struct, forbid_unknown_fields=True, kw_only=True):
    format: AnyFormat | JsonFormat | SchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None

    def wanted(self) -> Format | None:
        match self.format:
            case JsonFormat():
                return JsonObject()
            case SchemaFormat(name=name, schema=said):
                return schema(name, said)
            case _:
                return None


class StreamOptions(Struct, forbid_unknown_fields=True):
    include_obfuscation: bool | None = None


class BackgroundOptions(Struct, forbid_unknown_fields=True):
    completion_window: str | None = None
    """Everything is done as soon as it can be."""
    continuation_id: Ignored = None


class Question(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a prompt is made of. ``null`` is the same as leaving a field out."""

    model: Name | None = None
    """Left out: the one that the operator chose for that, else the first that can chat."""
    input: Input | None = None
    instructions: str | None = None
    """Stands above the conversation; not carried over from an earlier response."""
    previous_response_id: Name | None = None
    """The conversation goes on from there."""
    conversation: None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Mode | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningWish | None = None
    text: TextWish | None = None
    truncation: Literal["auto", "disabled"] | None = None

    def offered(self) -> Offered:
        """Raises MeshError."""
        return tool.offered(self.tools)

    def chat(self, items: tuple[Item, ...], offered: Offered) -> Chat:
        """``items`` are all of the conversation. Raises MeshError."""
        return Chat(
            turns=turns(self.instructions, items),
            tools=offered.tools,
            tool_choice=chosen(self.tool_choice, offered, self.parallel_tool_calls),
            thinking=(self.reasoning or ReasoningWish()).thinking(),
        )


class CountRequest(Question, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/responses/input_tokens."""

    personality: Ignored = None


class CompactRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/responses/compact."""

    model: Name | None = None
    input: Input | None = None
    instructions: str | None = None
    previous_response_id: Name | None = None
    image: Ignored = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    service_tier: str | None = None


class CreateRequest(Question, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/responses."""

    prompt: None = None
    max_output_tokens: Count | None = None
    """Of the answer and what is thought before it."""
    max_tool_calls: Annotated[int, Meta(ge=0)] | None = None
    """Counts tools that the vendor runs; there are none."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: list[Include] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    """True unless it says false."""
    background: bool | None = None
    background_options: BackgroundOptions | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    """Names the session."""
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    session_id: Name | None = None
    """Ours: the conversation whose cache is worth keeping; the header X-Session-Id wins."""
    client_metadata: Ignored = None
    """What Codex tells of itself."""
    access_programs: Ignored = None
    image: Ignored = None
    context_management: Empty | None = None
    moderation: None = None

    @property
    def is_stored(self) -> bool:
        return self.store is not False

    @property
    def seals_reasoning(self) -> bool:
        return "reasoning.encrypted_content" in (self.include or ())

    @property
    def tells_summary(self) -> bool:
        return self.reasoning is not None and self.reasoning.is_summarised

    def asked(self, model: ModelId, items: tuple[Item, ...], offered: Offered) -> Asked:
        """Raises MeshError where fields contradict one another or cannot be honoured."""
        session = self.session_id or self.prompt_cache_key
        return Asked(
            model=model,
            prompts=(self.chat(items, offered),),
            sampling=Sampling(
                temperature=1.0 if self.temperature is None else self.temperature,
                top_p=1.0 if self.top_p is None else max(self.top_p, 1e-6),
            ),
            given=given(self),
            max_tokens=self.max_output_tokens,
            logprobs=self._alternatives(),
            session=SessionId(session) if session else None,
            format=(self.text or TextWish()).wanted(),
            stream=bool(self.stream),
            include_usage=True,
            ignored=self._ignored(),
            priority=tier(self.service_tier),
        )

    def _alternatives(self) -> int | None:
        wanted = "message.output_text.logprobs" in (self.include or ()) or self.top_logprobs
        return (self.top_logprobs or 0) if wanted else None

    def _ignored(self) -> tuple[str, ...]:
        obfuscates = self.stream_options is not None and self.stream_options.include_obfuscation
        fields = {
            "text.verbosity": (self.text or TextWish()).verbosity in ("low", "high"),
            "stream_options.include_obfuscation": obfuscates,
            "reasoning.context": self.reasoning is not None and self.reasoning.context,
            "reasoning.mode": self.reasoning is not None and self.reasoning.mode,
            "prompt_cache_options": self.prompt_cache_options,
            "prompt_cache_retention": self.prompt_cache_retention,
            "access_programs": self.access_programs,
            "image": self.image,
        }
        return tuple(name for name, is_said in fields.items() if is_said)


_CREATE = msgspec.json.Decoder(CreateRequest)
_COUNT = msgspec.json.Decoder(CountRequest)
_COMPACT = msgspec.json.Decoder(CompactRequest)


def create_request(body: bytes) -> CreateRequest:
    """Raises MeshError."""
    request = decode(_CREATE, body, NOT_YET)
    if request.background and not request.is_stored:
        raise invalid("`background` needs `store: true`; what is not stored is lost.", "store")
    return request


def count_request(body: bytes) -> CountRequest:
    """Raises MeshError."""
    return decode(_COUNT, body, NOT_YET)


def compact_request(body: bytes) -> CompactRequest:
    """Raises MeshError."""
    return decode(_COMPACT, body, NOT_YET)
