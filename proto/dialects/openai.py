"""What OpenAI's clients send to /v1/chat/completions and /v1/completions.

The types leave room only for what can be honoured: a field that must stay at
its off value has a type that says so, which makes the OpenAPI document true.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from proto.dialects.asked import (
    Asked,
    Count,
    Empty,
    Ignored,
    NonEmpty,
    decode,
    invalid,
    unsupported,
)
from proto.errors import Code, MeshError
from proto.ids import ModelId, SessionId
from proto.inference import Chat, Prompt, Role, Sampling, Text, Tokens, Turn

MOST_CHOICES = 128
MOST_STOPS = 4

Choices = Annotated[int, Meta(ge=1, le=MOST_CHOICES)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
TokenId = Annotated[int, Meta(ge=0, lt=2**31)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Stop = NonEmpty | Annotated[list[NonEmpty], Meta(max_length=MOST_STOPS)]
JustFalse = Annotated[bool, Meta(extra_json_schema={"enum": [False]})]

TEXT_ONLY = "only text can be read; send parts of type text"
NO_TOOLS = "tools cannot be called yet; leave it out"
NOT_YET = {
    "messages.content": TEXT_ONLY,
    "messages.tool_calls": NO_TOOLS,
    "messages.tool_call_id": NO_TOOLS,
    "messages.function_call": NO_TOOLS,
    "messages.audio": TEXT_ONLY,
    "messages.role": "use system, developer, user or assistant; tools cannot be called yet",
    "tools": NO_TOOLS,
    "tool_choice": "tools cannot be called yet; leave it out, or say none or auto",
    "functions": NO_TOOLS,
    "function_call": "functions cannot be called yet; leave it out, or say none or auto",
    "response_format": 'only {"type": "text"} can be promised; ask for JSON in the prompt',
    "modalities": 'only ["text"] can be answered',
    "audio": "only text can be answered; leave it out",
    "prediction": "predicted output is not used; leave it out",
    "reasoning_effort": "reasoning cannot be steered yet; leave it out, or say none",
    "web_search_options": "the web cannot be searched; leave it out",
    "moderation": "nothing is moderated; leave it out",
    "suffix": "text cannot be inserted before a suffix; leave it out",
}


class Part(Struct, forbid_unknown_fields=True, kw_only=True):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Ignored = None


class _Said(Struct, forbid_unknown_fields=True, kw_only=True, tag_field="role"):
    content: str | list[Part]
    name: str | None = None
    """Accepted for the frameworks that always send it; chat templates have no place for it."""

    def text(self) -> str:
        return _joined(self.content)


class SystemMessage(_Said, forbid_unknown_fields=True, kw_only=True, tag="system"):
    pass


class DeveloperMessage(_Said, forbid_unknown_fields=True, kw_only=True, tag="developer"):
    """The newer name of a system message."""


class UserMessage(_Said, forbid_unknown_fields=True, kw_only=True, tag="user"):
    pass


class AssistantMessage(
    Struct, forbid_unknown_fields=True, kw_only=True, tag_field="role", tag="assistant"
):
    """An earlier answer, which clients send back as they received it."""

    content: str | list[Part] | None = None
    refusal: str | None = None
    name: str | None = None
    annotations: Ignored = None
    tool_calls: Empty | None = None
    function_call: None = None
    audio: None = None

    def text(self) -> str:
        return _joined(self.content or self.refusal or "")


ChatMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage


def _turn(message: ChatMessage) -> Turn:
    match message:
        case SystemMessage() | DeveloperMessage():
            role: Role = "system"
        case UserMessage():
            role = "user"
        case AssistantMessage():
            role = "assistant"
    return Turn(role=role, content=message.text())


def _joined(content: str | list[Part]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


class TextFormat(Struct, forbid_unknown_fields=True):
    type: Literal["text"]


class StreamOptions(Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Nothing is padded: on an own network there is nobody to hide sizes from."""


class Request(Struct, forbid_unknown_fields=True, kw_only=True):
    """What both endpoints understand. ``null`` is the same as leaving a field out."""

    model: NonEmpty
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Fraction | None = None
    max_tokens: Count | None = None
    """Default: what the context leaves."""
    n: Choices | None = None
    stop: Stop | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[TokenId, Bias] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None

    top_k: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    """Ours: sample from the k likeliest tokens; 0 from all."""
    min_p: Fraction | None = None
    """Ours: leave out tokens less likely than this part of the likeliest."""
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    """Ours: 1 changes nothing."""
    session_id: NonEmpty | None = None
    """Ours: the conversation whose cache is worth keeping; the header X-Session-Id wins."""

    def sampling(self) -> Sampling:
        return Sampling(
            temperature=_or(self.temperature, 1.0),
            # The vendor allows 0 and means the likeliest token; the canonical form starts above it.
            top_p=max(_or(self.top_p, 1.0), 1e-6),
            top_k=self.top_k or 0,
            min_p=self.min_p or 0.0,
            seed=self.seed,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            logit_bias=self.logit_bias or {},
        )

    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def wants_usage(self) -> bool:
        """Raises MeshError when stream_options come without a stream."""
        if self.stream_options is None:
            return False
        if not self.stream:
            raise invalid(
                "`stream_options` need `stream: true`; set it, or leave them out.", "stream_options"
            )
        return bool(self.stream_options.include_usage)


class ChatRequest(Request, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    """Wins over max_tokens, its older name."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Empty | None = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Empty | None = None
    function_call: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    prediction: None = None
    reasoning_effort: Literal["none"] | None = None
    web_search_options: None = None
    moderation: None = None
    store: JustFalse | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    """Names the session where session_id does not."""
    prompt_cache_options: Ignored = None
    prompt_cache_retention: str | None = None

    def asked(self) -> Asked:
        """Raises MeshError where fields contradict one another or cannot be honoured."""
        if self.store:
            raise unsupported("store", "completions are not stored; leave it out, or say false")
        session = self.session_id or self.prompt_cache_key
        return Asked(
            model=ModelId(self.model),
            prompts=(Chat(turns=tuple(map(_turn, self.messages))),),
            n=self.n or 1,
            sampling=self.sampling(),
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=self.stops(),
            logprobs=self._alternatives(),
            session=SessionId(session) if session else None,
            stream=bool(self.stream),
            include_usage=self.wants_usage(),
        )

    def _alternatives(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise invalid(
                "`top_logprobs` needs `logprobs: true`; set it, or leave it out.", "top_logprobs"
            )
        return None


class CompletionRequest(Request, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str | TokenId | list[TokenId]], Meta(min_length=1)]
    """One prompt or many, as text or as token ids."""
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: Choices | None = None
    echo: JustFalse | None = None
    suffix: Annotated[str, Meta(max_length=0)] | None = None

    def asked(self) -> Asked:
        """Raises MeshError where fields contradict one another or cannot be honoured."""
        if self.echo:
            raise unsupported("echo", "the prompt is not repeated; leave it out, or say false")
        n = self.n or 1
        if self.best_of is not None and self.best_of != n:
            raise unsupported("best_of", "every choice is returned; leave it out, or say n")
        prompts = self._prompts()
        if len(prompts) * n > MOST_CHOICES:
            raise invalid(
                f"{len(prompts)} prompts of {n} choices are more than {MOST_CHOICES}; "
                "send fewer at a time.",
                "prompt",
            )
        return Asked(
            model=ModelId(self.model),
            prompts=prompts,
            n=n,
            sampling=self.sampling(),
            max_tokens=self.max_tokens,
            stop=self.stops(),
            logprobs=self.logprobs,
            session=SessionId(self.session_id) if self.session_id else None,
            stream=bool(self.stream),
            include_usage=self.wants_usage(),
        )

    def _prompts(self) -> tuple[Prompt, ...]:
        if isinstance(self.prompt, str):
            return (Text(text=self.prompt),)
        texts = [item for item in self.prompt if isinstance(item, str)]
        ids = [item for item in self.prompt if isinstance(item, int)]
        lists = [item for item in self.prompt if isinstance(item, list)]
        if len(texts) == len(self.prompt):
            return tuple(Text(text=text) for text in texts)
        if len(ids) == len(self.prompt):
            return (Tokens(ids=tuple(ids)),)
        if len(lists) == len(self.prompt) and all(lists):
            return tuple(Tokens(ids=tuple(ids)) for ids in lists)
        raise invalid(
            "`prompt` mixes kinds or holds an empty list; send a string, strings, "
            "token ids or lists of token ids.",
            "prompt",
        )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


_CHAT = msgspec.json.Decoder(ChatRequest)
_COMPLETION = msgspec.json.Decoder(CompletionRequest)


def asked_chat(body: bytes) -> Asked:
    """Raises MeshError."""
    return decode(_CHAT, body, NOT_YET).asked()


def asked_completion(body: bytes) -> Asked:
    """Raises MeshError."""
    return decode(_COMPLETION, body, NOT_YET).asked()


class Problem(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Struct, frozen=True):
    """What every refusal looks like in this dialect."""

    error: Problem


def envelope(error: MeshError) -> bytes:
    problem = Problem(error.message, _type_of(error.code), error.param, error.code.word)
    return msgspec.json.encode(ErrorBody(problem))


def _type_of(code: Code) -> str:
    if code.status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if code.status < 500 else "server_error"
