"""What Anthropic's clients send to /v1/messages and /v1/messages/count_tokens."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from proto.dialects.anthropic_content import BLOCKS, SOURCES, Tagged, Text, words_of
from proto.dialects.anthropic_tools import RawTool, deferred, tools_of
from proto.dialects.anthropic_turns import Message, SystemMessage, turns_of
from proto.dialects.asked import (
    Asked,
    Count,
    Empty,
    Ignored,
    Name,
    NonEmpty,
    decode,
    given,
    invalid,
    mark,
)
from proto.errors import Code, MeshError
from proto.format import JsonSchema
from proto.generation import Sampling, Tier
from proto.ids import ModelId, SessionId
from proto.prompt import Chat, Effort, Thinking, Tool
from proto.prompt import ToolChoice as Choice
from proto.tokenization import CountTokens

LEAST_BUDGET = 1024

ONLY_CLEARED = "nothing is compacted here; leave compact edits out and shorten the conversation"
NOT_YET = {
    "messages.role": "use user or assistant, or system for an instruction in between",
    "messages.content.type": BLOCKS,
    "messages.content.content.type": "a tool_result holds text, image, document and search_result",
    "messages.content.source.type": SOURCES,
    "messages.content.content.source.type": SOURCES,
    "messages.content.source.content.source.type": SOURCES,
    "messages.content.toolset_name": "there are no toolsets; leave it out",
    "system.type": "only text can be read; send blocks of type text",
    "thinking.type": "say enabled, adaptive or disabled",
    "output_config.format.type": "say json_schema, or leave it out",
    "output_format.type": "say json_schema, or leave it out",
    "context_management.edits.type": ONLY_CLEARED,
    "compaction": ONLY_CLEARED,
    "container": "there are no containers; leave it out",
    "mcp_servers": "no servers are asked from here; let the client call them and offer their tools",
    "thread": "no threads are kept; send the whole conversation",
}

TIERS: dict[str, Tier] = {"auto": "auto", "standard_only": "standard"}
Probability = Annotated[float, Meta(ge=0, le=1)]
Display = Literal["summarized", "omitted"]


class Metadata(Struct, forbid_unknown_fields=True):
    user_id: str | None = None
    """Some clients write their session into it."""
    session_id: str | None = None


class Enabled(Tagged, kw_only=True, tag="enabled"):
    budget_tokens: Annotated[int, Meta(ge=LEAST_BUDGET, le=2**53)]
    display: Display | None = None


class Adaptive(Tagged, kw_only=True, tag="adaptive"):
    display: Display | None = None


class Disabled(Tagged, tag="disabled"):
    pass


class Auto(Tagged, kw_only=True, tag="auto"):
    disable_parallel_tool_use: bool | None = None


class AnyTool(Tagged, kw_only=True, tag="any"):
    disable_parallel_tool_use: bool | None = None


class OneTool(Tagged, kw_only=True, tag="tool"):
    name: NonEmpty
    disable_parallel_tool_use: bool | None = None


class NoTool(Tagged, kw_only=True, tag="none"):
    disable_parallel_tool_use: bool | None = None


class JsonFormat(Tagged, kw_only=True, tag="json_schema"):
    schema: dict[str, Any]
    name: str | None = None


class OutputConfig(Struct, forbid_unknown_fields=True, kw_only=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None
    task_budget: Ignored = None


class Edit(Struct):
    """What the vendor would take out of a long conversation. Nothing is taken out here."""

    type: Annotated[str, Meta(pattern="^clear_")]


class ContextManagement(Struct, forbid_unknown_fields=True):
    edits: list[Edit] | None = None


class Conversation(Struct, forbid_unknown_fields=True, kw_only=True):
    """What both endpoints understand. ``null`` is the same as leaving a field out."""

    model: Name | None = None
    """Left out: the one that the operator chose for that."""
    messages: Annotated[list[Message], Meta(min_length=1)]
    """When the last one is the assistant's, the answer goes on from its end."""
    system: str | list[Text] | None = None
    tools: list[RawTool] | None = None
    tool_choice: Auto | AnyTool | OneTool | NoTool | None = None
    thinking: Enabled | Adaptive | Disabled | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None
    """The older place of ``output_config.format``."""
    context_management: ContextManagement | None = None
    compaction: None = None
    mcp_servers: Empty | None = None
    cache_control: Ignored = None
    billing_policy: Ignored = None
    speed: Literal["standard", "fast"] | None = None
    user_profile_id: str | None = None
    workspace_id: str | None = None

    def prompt(self) -> Chat:
        """Raises MeshError where parts of the conversation contradict one another."""
        turns = turns_of(self.messages, words_of(self.system or ""))
        if not any(turn.role != "system" for turn in turns):
            raise invalid("`messages` ask nothing; add a message of the user.", "messages")
        continues = turns[-1].role == "assistant"
        if continues and isinstance(self.thinking, Enabled):
            raise invalid(
                "`thinking` comes before an answer, and this one is begun already: disable it, or "
                "leave out the last message.",
                "thinking",
            )
        tools = tools_of(self.tools or [])
        return Chat(
            turns=turns,
            continues_last=continues,
            tools=tools,
            tool_choice=self._choice(tools),
            thinking=self._thinking(),
            cache=mark(self.cache_control),
        )

    def format(self) -> JsonSchema | None:
        """Raises MeshError when two different ones are asked for."""
        asked = self.output_config and self.output_config.format
        if asked and self.output_format and asked != self.output_format:
            raise invalid(
                "`output_format` is the older name of `output_config.format`; send one of them.",
                "output_format",
            )
        wanted = asked or self.output_format
        if wanted is None:
            return None
        return JsonSchema(schema=wanted.schema, name=wanted.name or "", strict=True)

    def ignored(self) -> list[str]:
        """Fields that were taken and have no effect."""
        config = self.output_config
        without_effect = {
            "context_management": self.context_management and self.context_management.edits,
            "billing_policy": self.billing_policy,
            "speed": self.speed == "fast",
            "output_config.task_budget": config and config.task_budget,
            "output_config.effort": config and config.effort and self._is_thoughtless,
            "tools.defer_loading": deferred(self.tools or []),
            "messages.output_config": any(
                isinstance(said, SystemMessage) and said.output_config for said in self.messages
            ),
        }
        return [name for name, value in without_effect.items() if value]

    @property
    def shows_thinking(self) -> bool:
        thinking = self.thinking
        return not (isinstance(thinking, Enabled | Adaptive) and thinking.display == "omitted")

    @property
    def _is_thoughtless(self) -> bool:
        return isinstance(self.thinking, Disabled)

    def _thinking(self) -> Thinking:
        if self._is_thoughtless:
            return Thinking(enabled=False)
        budget = self.thinking.budget_tokens if isinstance(self.thinking, Enabled) else None
        return Thinking(
            enabled=None if self.thinking is None else True,
            effort=self._effort(),
            budget_tokens=budget,
        )

    def _effort(self) -> Effort | None:
        effort = self.output_config.effort if self.output_config else None
        return "xhigh" if effort == "max" else effort

    def _choice(self, tools: tuple[Tool, ...]) -> Choice:
        wish = self.tool_choice
        if wish is None:
            return Choice()
        if not tools and isinstance(wish, AnyTool | OneTool):
            raise invalid("`tool_choice` needs `tools`; add them, or leave it out.", "tool_choice")
        parallel = not wish.disable_parallel_tool_use
        match wish:
            case OneTool(name=name):
                if all(tool.name != name for tool in tools):
                    raise invalid(
                        f"`tool_choice.name`: {name} is not among `tools`; add it, or name one.",
                        "tool_choice.name",
                    )
                return Choice(mode="required", allowed=(name,), parallel=parallel)
            case AnyTool():
                return Choice(mode="required", parallel=parallel)
            case NoTool():
                return Choice(mode="none")
            case Auto():
                return Choice(parallel=parallel)


class MessagesRequest(Conversation, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Count
    temperature: Probability | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    stop_sequences: list[NonEmpty] | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    session_id: Name | None = None
    """Ours: the conversation whose cache is worth keeping; the header X-Session-Id wins."""
    service_tier: str | None = None
    inference_geo: str | None = None
    container: None = None
    thread: None = None
    diagnostics: Ignored = None
    fallbacks: Ignored = None
    """No answer is refused by a policy here, so there is nothing to fall back from."""
    fallback_credit_token: Ignored = None

    def asked(self) -> Asked:
        """Raises MeshError where fields contradict one another or cannot be honoured."""
        self._expect_room_beside_thinking()
        session = self.session_id or self._named_by_metadata()
        return Asked(
            model=ModelId(self.model or ""),
            prompts=(self.prompt(),),
            sampling=Sampling(
                temperature=1.0 if self.temperature is None else self.temperature,
                top_p=1.0 if self.top_p is None else max(self.top_p, 1e-6),
                top_k=self.top_k or 0,
            ),
            given=given(self),
            max_tokens=self.max_tokens,
            stop=tuple(self.stop_sequences or ()),
            session=SessionId(session) if session else None,
            format=self.format(),
            stream=bool(self.stream),
            shows_reasoning=self.shows_thinking,
            include_usage=True,
            ignored=tuple(self.ignored()),
            user=(self.metadata and self.metadata.user_id) or "",
            tier=TIERS.get(self.service_tier or "", ""),
        )

    def ignored(self) -> list[str]:
        without_effect = {"diagnostics": self.diagnostics, "fallbacks": self.fallbacks}
        return super().ignored() + [name for name, value in without_effect.items() if value]

    def _expect_room_beside_thinking(self) -> None:
        if isinstance(self.thinking, Enabled) and self.thinking.budget_tokens >= self.max_tokens:
            raise invalid(
                f"`thinking.budget_tokens` is {self.thinking.budget_tokens} and must be below "
                f"`max_tokens`, which is {self.max_tokens}: raise that one, or lower this.",
                "thinking.budget_tokens",
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
    return CountTokens(model=ModelId(request.model or ""), prompt=request.prompt())


class TokenCount(Struct, frozen=True):
    input_tokens: int


class ThreadDetails(Struct, frozen=True):
    """By these words the vendor's SDK knows that it has to send whole conversations."""

    error_code: Literal["thread_unsupported_request"]
    unsupported: list[str]


class Problem(Struct, frozen=True, omit_defaults=True):
    type: str
    message: str
    details: ThreadDetails | None = None


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
    message = error.message
    if error.code is Code.CONTEXT_OVERFLOW:
        # The vendor's words: agents shorten the conversation when they read them.
        message = f"prompt is too long: {message}"
    details = None
    if error.param == "thread":
        details = ThreadDetails("thread_unsupported_request", ["thread"])
    problem = Problem(type_of(error.code), message, details)
    return msgspec.json.encode(ErrorBody(problem, request_id))


def type_of(code: Code) -> str:
    """The vendor's word for what went wrong."""
    rest = "invalid_request_error" if code.status < 500 else "api_error"
    return _TYPES.get(code.status, rest)
