"""A generation as an upstream is asked for it that speaks Anthropic's Messages.

Protocol: https://platform.claude.com/docs/en/api/messages
"""

from typing import Any

from proto.format import Format, JsonSchema
from proto.generation import Generate, Sampling, Tier
from proto.prompt import Chat, Prompt, Tool, ToolChoice
from services.cloud.anthropic.abilities import UNKNOWN, Abilities
from services.cloud.anthropic.messages import mark_of, messages_of, system_of
from services.cloud.anthropic.thinking import thinking_of
from services.cloud.unsupported import unsupported

USUAL_TOKENS = 8192
"""Of an answer whose client names no limit, of a model whose own is not known: the protocol has no
answers without one.
"""
TIERS: dict[Tier, str] = {"auto": "auto", "standard": "standard_only"}
"""``flex`` is left out: it may wait, which is seen to here."""

Said = dict[str, Any]


def body(request: Generate, model: str, can: Abilities = UNKNOWN) -> Said:
    """Raises MeshError for what the protocol has no word for."""
    chat = _chat(request.prompt)
    if request.logprobs is not None:
        raise unsupported("logprobs", "reports no logprobs")
    most = can.most_tokens or USUAL_TOKENS
    max_tokens = most if request.max_tokens is None else request.max_tokens
    thinking, effort = thinking_of(chat.thinking, can, max_tokens)
    output = _output(request.format, effort)
    return {
        "model": model,
        "max_tokens": max_tokens,
        "stream": True,
        **_conversation(chat),
        **thinking,
        **_sampling(request.sampling),
        **_said(
            output_config=output,
            stop_sequences=list(request.stop),
            metadata={"user_id": request.user} if request.user else None,
            service_tier=_tier(request.tier),
        ),
        **mark_of(chat.cache),
    }


def count_body(prompt: Prompt, model: str, can: Abilities = UNKNOWN) -> Said:
    """What there is to count, for ``/messages/count_tokens``. Raises MeshError."""
    chat = _chat(prompt)
    thinking, effort = thinking_of(chat.thinking, can, can.most_tokens or USUAL_TOKENS)
    told = _said(output_config=_output(None, effort))
    return {"model": model, **_conversation(chat), **thinking, **told}


def _chat(prompt: Prompt) -> Chat:
    if not isinstance(prompt, Chat):
        raise unsupported("prompt", "reads conversations only; ask /v1/chat/completions")
    if prompt.template_options:
        raise unsupported("chat_template_kwargs", "has no template to give them to")
    return prompt


def _conversation(chat: Chat) -> Said:
    return {
        **_said(system=system_of(chat)),
        "messages": messages_of(chat),
        **_tools(chat.tools, chat.tool_choice),
    }


def _said(**fields: Any) -> Said:
    return {name: value for name, value in fields.items() if value}


def _tools(tools: tuple[Tool, ...], choice: ToolChoice) -> Said:
    """The protocol has no choice among some of the tools, so the others are not sent."""
    if not tools:
        return {}
    offered = [tool for tool in tools if not choice.allowed or tool.name in choice.allowed]
    said: Said = {"tools": list(map(_tool, offered))}
    match choice.mode:
        case "none":
            wish: Said = {"type": "none"}
        case "required" if len(choice.allowed) == 1:
            wish = {"type": "tool", "name": choice.allowed[0]}
        case "required":
            wish = {"type": "any"}
        case "auto":
            wish = {"type": "auto"}
    if not choice.parallel and choice.mode != "none":
        wish["disable_parallel_tool_use"] = True
    return said if wish == {"type": "auto"} else said | {"tool_choice": wish}


def _tool(tool: Tool) -> Said:
    said: Said = {"name": tool.name, "input_schema": {"type": "object"} | tool.parameters}
    if tool.description:
        said["description"] = tool.description
    if tool.strict:
        said["strict"] = True
    return said | mark_of(tool.cache)


def _output(wanted: Format | None, effort: str | None) -> Said:
    said: Said = {"effort": effort} if effort else {}
    if isinstance(wanted, JsonSchema):
        return said | {"format": {"type": "json_schema", "schema": wanted.schema}}
    if wanted is not None:
        raise unsupported("response_format", "keeps to JSON schemas only; send one as json_schema")
    return said


def _tier(tier: Tier) -> str | None:
    if tier == "priority":
        raise unsupported("service_tier", "sells no tier of this name; say auto or default")
    return TIERS.get(tier)


def _sampling(sampling: Sampling) -> Said:
    """What differs from the canonical default."""
    plain, said = Sampling(), {}
    for name in sampling.__struct_fields__:
        value = getattr(sampling, name)
        if value == getattr(plain, name):
            continue
        if name not in ("temperature", "top_p", "top_k"):
            param = "logit_bias" if name == "word_bias" else name
            raise unsupported(param, "knows temperature, top_p and top_k only")
        said[name] = value
    if said.get("temperature", 0.0) > 1:
        raise unsupported("temperature", "takes 1 at most")
    return said
