"""What OpenAI's clients send to /v1/chat/completions and /v1/completions.

The types leave room only for what can be honoured, or has no bearing on the
tokens: that makes the OpenAPI document true.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from proto.dialects import openai_format, openai_messages, openai_tools
from proto.dialects.asked import (
    BATCH_TIERS,
    Asked,
    Ignored,
    decode,
    given,
    invalid,
    tier,
    unsupported,
)
from proto.dialects.openai_format import wanted
from proto.dialects.openai_messages import Messages, continues, turns
from proto.dialects.openai_reasoning import ReasoningRequest
from proto.dialects.openai_request import LARGEST_TOKEN, MOST_CHOICES, Limit, Request
from proto.dialects.openai_tools import (
    Choice,
    Function,
    FunctionReference,
    FunctionTool,
    choose,
    chosen,
    tools,
)
from proto.errors import Code, MeshError
from proto.generation import Tier
from proto.ids import ModelId, SessionId
from proto.prompt import Chat, Prompt, Text, Tokens, Tool, ToolChoice

TokenId = Annotated[int, Meta(ge=0, lt=LARGEST_TOKEN)]

NOT_YET = {
    **openai_messages.NOT_YET,
    **openai_tools.NOT_YET,
    **openai_format.NOT_YET,
    "modalities": 'only ["text"] can be answered',
    "suffix": "text cannot be inserted before a suffix; leave it out",
}
TIERS: dict[str, Tier] = {
    "auto": "auto",
    "default": "standard",
    "flex": "flex",
    "batch": "flex",
    "priority": "priority",
}
WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "moderation": (),
    "store": (False,),
    "service_tier": ("auto", "default", *BATCH_TIERS),
    "verbosity": ("medium",),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
}
"""Fields that are taken from clients that send them, and their values that ask for nothing."""


class ChatRequest(ReasoningRequest, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Messages
    max_completion_tokens: Limit | None = None
    """Wins over max_tokens, its older name."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Choice | None = None
    """Kept to by construction: the engine lets nothing else be generated."""
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    """The older form of tools, which win; the answer then has the older form, too."""
    function_call: Literal["none", "auto"] | FunctionReference | None = None
    """The older form of tool_choice."""
    modalities: list[Literal["text"]] | None = None
    audio: dict[str, Any] | None = None
    """No effect while modalities hold text only, as does nothing that follows down to verbosity."""
    prediction: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: str | None = None
    verbosity: str | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=512)] | None = None
    """Names the session where session_id does not."""
    safety_identifier: str | None = None
    continue_final_message: bool | None = None
    """Ours: the last message is the assistant's, and the answer goes on from its end."""
    add_generation_prompt: bool | None = None
    """Ours: what vLLM wants beside continue_final_message; the opposite of it."""

    def asked(self) -> Asked:
        """Raises MeshError where fields contradict one another or cannot be honoured."""
        session = self.session_id or self.prompt_cache_key
        newest = self.max_completion_tokens
        return Asked(
            model=ModelId(self.model or ""),
            prompts=(self._prompt(),),
            n=self.n or 1,
            sampling=self.sampling(),
            given=given(self),
            max_tokens=self.max_tokens if newest is None else newest,
            stop=self.stops(),
            logprobs=self._alternatives(),
            session=SessionId(session) if session else None,
            format=wanted(self.response_format),
            stream=bool(self.stream),
            include_usage=self.wants_usage(),
            ignored=self._ignored(),
            shows_reasoning=self.shows_reasoning(),
            calls_functions=self._is_older(),
            priority=tier(self.service_tier),
            user=self.safety_identifier or self.user or "",
            tier=TIERS.get(self.service_tier or "", ""),
        )

    def _prompt(self) -> Chat:
        offered, choice = self._tools()
        return Chat(
            turns=turns(self.messages),
            continues_last=self._continues(),
            tools=offered,
            tool_choice=choice,
            thinking=self.thinking_wanted(),
            template_options=self.template_options(),
        )

    def _is_older(self) -> bool:
        return bool(self.functions) and not self.tools

    def _tools(self) -> tuple[tuple[Tool, ...], ToolChoice]:
        offered = tools((tool.function for tool in self.tools or ()), "tools[].function")
        choice = chosen(self.tool_choice, offered, self.parallel_tool_calls)
        return (offered, choice) if offered else self._functions()

    def _functions(self) -> tuple[tuple[Tool, ...], ToolChoice]:
        """The older form knows one call at most in an answer."""
        offered = tools(self.functions or (), "functions[]")
        called = self.function_call
        if isinstance(called, FunctionReference):
            return offered, choose("required", (called.name,), offered, False, "function_call")
        return offered, choose(called, (), offered, False, "function_call")

    def _continues(self) -> bool:
        does = continues(self.messages, self.continue_final_message)
        if self.add_generation_prompt is not None and self.add_generation_prompt == does:
            raise invalid(
                "`add_generation_prompt` must be false where the last message is gone on from, "
                "and true elsewhere; leave it out.",
                "add_generation_prompt",
            )
        return does

    def _alternatives(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise invalid(
                "`top_logprobs` needs `logprobs: true`; set it, or leave it out.", "top_logprobs"
            )
        return None

    def _ignored(self) -> tuple[str, ...]:
        older = ("functions", "function_call") if self.tools else ()
        return tuple(
            name
            for name, silent in (*WITHOUT_EFFECT.items(), *((name, ()) for name in older))
            if (value := getattr(self, name)) is not None and value not in silent
        )


class CompletionRequest(Request, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str | TokenId | list[TokenId]], Meta(min_length=1)]
    """One prompt or many, as text or as token ids."""
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: Annotated[int, Meta(ge=0, le=MOST_CHOICES)] | None = None
    """No more than n: every choice that is generated is returned."""
    echo: bool | None = None
    """The answer begins with the prompt, which must be text, and has no logprobs."""
    suffix: Annotated[str, Meta(max_length=0)] | None = None

    def asked(self) -> Asked:
        """Raises MeshError where fields contradict one another or cannot be honoured."""
        n = self.n or 1
        if self.best_of and self.best_of != n:
            raise unsupported("best_of", "every choice is returned; leave it out, or say n")
        prompts = self._prompts()
        if len(prompts) * n > MOST_CHOICES:
            raise invalid(
                f"{len(prompts)} prompts of {n} choices are more than {MOST_CHOICES}; "
                "send fewer at a time.",
                "prompt",
            )
        return Asked(
            model=ModelId(self.model or ""),
            prompts=prompts,
            n=n,
            sampling=self.sampling(),
            given=given(self),
            max_tokens=self.max_tokens,
            stop=self.stops(),
            logprobs=self.logprobs,
            session=SessionId(self.session_id) if self.session_id else None,
            format=wanted(self.response_format),
            stream=bool(self.stream),
            include_usage=self.wants_usage(),
            echo=self._echoes(prompts),
        )

    def _echoes(self, prompts: tuple[Prompt, ...]) -> bool:
        if self.echo and self.logprobs is not None:
            raise unsupported("echo", "a prompt has no logprobs here; leave one of both out")
        if self.echo and not all(isinstance(prompt, Text) for prompt in prompts):
            raise unsupported("echo", "a prompt of token ids is not repeated; send it as text")
        return bool(self.echo)

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
