"""A generation as an OpenAI-compatible upstream is asked for it.

Protocol: https://platform.openai.com/docs/api-reference/chat and /completions.
"""

from typing import Any

from proto.config import ProviderKind
from proto.format import Format, Grammar, JsonObject, JsonSchema, Regex
from proto.generation import Generate, Sampling, Tier
from proto.prompt import (
    Chat,
    Text,
    Thinking,
    Tokens,
    Tool,
    ToolChoice,
)
from services.cloud.openai.messages import Messages
from services.cloud.unsupported import unsupported

TOLD_WHO_ASKS: tuple[ProviderKind, ...] = ("openai", "openrouter")
"""Others may refuse what only providers have a use for."""
TIERS: dict[Tier, str] = {
    "auto": "auto",
    "standard": "default",
    "flex": "flex",
    "priority": "priority",
}
OF_OTHERS = ("top_k", "min_p", "repetition_penalty")
"""That servers of models know, and OpenAI does not."""
LOW_TOKENS, MEDIUM_TOKENS = 2048, 8192
"""A budget up to these is that effort; upstreams know efforts only."""


def body(
    request: Generate, model: str, limit: str, kind: ProviderKind = "openai-compatible"
) -> tuple[str, dict[str, Any]]:
    """Path and body. Raises MeshError for what no upstream could honour.

    ``limit`` is what the upstream's chat completions call the most tokens to generate, ``kind``
    whose extensions of the protocol it knows.
    """
    said: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request.sampling, kind),
    }
    if request.max_tokens is not None:
        said[limit if isinstance(request.prompt, Chat) else "max_tokens"] = request.max_tokens
    if request.stop:
        said["stop"] = list(request.stop)
    match request.prompt:
        case Chat() as chat:
            return "/chat/completions", said | _chat(chat, kind) | _of_chat(request, kind)
        case Text(text=text):
            _expect_plain(request)
            return "/completions", said | {"prompt": text}
        case Tokens(ids=ids):
            _expect_plain(request)
            return "/completions", said | {"prompt": list(ids)}


def _chat(chat: Chat, kind: ProviderKind) -> dict[str, Any]:
    if chat.continues_last and kind != "openrouter":
        raise unsupported("messages", "goes on from no answer that was begun; leave it out")
    said: dict[str, Any] = {"messages": list(Messages(kind).of(chat.turns))}
    if chat.tools:
        said |= _tools(chat.tools, chat.tool_choice)
    if chat.template_options and kind in TOLD_WHO_ASKS:
        raise unsupported("chat_template_kwargs", "has no template to give them to")
    if chat.template_options:
        said["chat_template_kwargs"] = chat.template_options
    return said | _thinking(chat.thinking, kind)


def _thinking(thinking: Thinking, kind: ProviderKind) -> dict[str, Any]:
    """OpenRouter knows budgets; others are told the effort that a budget comes to."""
    if kind == "openrouter" and thinking.budget_tokens and thinking.enabled is not False:
        return {"reasoning": {"max_tokens": thinking.budget_tokens}}
    if kind == "openrouter" and thinking.enabled and thinking.effort is None:
        return {"reasoning": {"enabled": True}}
    effort = _effort(thinking)
    return {"reasoning_effort": effort} if effort else {}


def _of_chat(request: Generate, kind: ProviderKind) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if request.user and kind in TOLD_WHO_ASKS:
        said["user"] = request.user
    if request.tier and kind in TOLD_WHO_ASKS:
        said["service_tier"] = TIERS[request.tier]
    if request.logprobs is not None:
        said |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.format is not None:
        said["response_format"] = _format(request.format)
    return said


def _expect_plain(request: Generate) -> None:
    if request.logprobs is not None:
        raise unsupported("logprobs", "reports logprobs on /v1/chat/completions only")
    if request.format is not None:
        raise unsupported("response_format", "keeps to formats on /v1/chat/completions only")


def _tools(tools: tuple[Tool, ...], choice: ToolChoice) -> dict[str, Any]:
    """Few upstreams know of allowed tools, so those that are not allowed are not sent."""
    allowed = [tool for tool in tools if not choice.allowed or tool.name in choice.allowed]
    said: dict[str, Any] = {"tools": [_tool(tool) for tool in allowed]}
    if choice.mode == "required" and len(choice.allowed) == 1:
        said["tool_choice"] = {"type": "function", "function": {"name": choice.allowed[0]}}
    elif choice.mode != "auto":
        said["tool_choice"] = choice.mode
    if not choice.parallel:
        said["parallel_tool_calls"] = False
    return said


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _effort(thinking: Thinking) -> str | None:
    if thinking.enabled is False:
        return "none"
    if thinking.effort is not None or thinking.budget_tokens is None:
        return thinking.effort
    if thinking.budget_tokens <= LOW_TOKENS:
        return "low"
    return "medium" if thinking.budget_tokens <= MEDIUM_TOKENS else "high"


def _format(wanted: Format) -> dict[str, Any]:
    match wanted:
        case JsonObject():
            return {"type": "json_object"}
        case JsonSchema(schema=schema, name=name, strict=strict):
            named = {"name": name or "answer", "schema": schema, "strict": strict}
            return {"type": "json_schema", "json_schema": named}
        case Regex():
            raise unsupported("response_format", "keeps to no regular expression")
        case Grammar():
            raise unsupported("response_format", "keeps to no grammar")


def _sampling(sampling: Sampling, kind: ProviderKind) -> dict[str, Any]:
    """What differs from the canonical default, under the names that OpenAI's servers use."""
    if sampling.word_bias:
        raise unsupported("logit_bias", "knows tokens by their ids only")
    plain = Sampling()
    said = {
        name: getattr(sampling, name)
        for name in sampling.__struct_fields__
        if getattr(sampling, name) != getattr(plain, name)
    }
    for name in said:
        if kind == "openai" and name in OF_OTHERS:
            raise unsupported(name, "knows no such parameter")
    if "logit_bias" in said:
        said["logit_bias"] = {str(token): bias for token, bias in said["logit_bias"].items()}
    return said
