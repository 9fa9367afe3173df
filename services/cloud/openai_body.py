"""A generation as an OpenAI-compatible upstream is asked for it.

Protocol: https://platform.openai.com/docs/api-reference/chat and /completions.
"""

from typing import Any

from proto.errors import Code, MeshError
from proto.inference import (
    Chat,
    Format,
    Generate,
    Grammar,
    ImagePart,
    JsonObject,
    JsonSchema,
    Part,
    Regex,
    Sampling,
    Text,
    Thinking,
    Tokens,
    Tool,
    ToolCall,
    ToolChoice,
    Turn,
)

LOW_TOKENS, MEDIUM_TOKENS = 2048, 8192
"""A budget up to these is that effort; upstreams know efforts only."""


def body(request: Generate, model: str, limit: str) -> tuple[str, dict[str, Any]]:
    """Path and body. Raises MeshError for what no upstream could honour.

    ``limit`` is what the upstream's chat completions call the most tokens to generate.
    """
    said: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request.sampling),
    }
    if request.max_tokens is not None:
        said[limit if isinstance(request.prompt, Chat) else "max_tokens"] = request.max_tokens
    if request.stop:
        said["stop"] = list(request.stop)
    match request.prompt:
        case Chat() as chat:
            return "/chat/completions", said | _chat(chat) | _of_chat(request)
        case Text(text=text):
            _expect_plain(request)
            return "/completions", said | {"prompt": text}
        case Tokens(ids=ids):
            _expect_plain(request)
            return "/completions", said | {"prompt": list(ids)}


def _chat(chat: Chat) -> dict[str, Any]:
    said: dict[str, Any] = {"messages": [_message(turn) for turn in chat.turns]}
    if chat.tools:
        said |= _tools(chat.tools, chat.tool_choice)
    if chat.template_options:
        said["chat_template_kwargs"] = chat.template_options
    effort = _effort(chat.thinking)
    return said | ({"reasoning_effort": effort} if effort else {})


def _of_chat(request: Generate) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if request.logprobs is not None:
        said |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.format is not None:
        said["response_format"] = _format(request.format)
    return said


def _expect_plain(request: Generate) -> None:
    if request.logprobs is not None:
        raise _unsupported("logprobs", "reports logprobs on /v1/chat/completions only")
    if request.format is not None:
        raise _unsupported("response_format", "keeps to formats on /v1/chat/completions only")


def _unsupported(param: str, why: str) -> MeshError:
    return MeshError(Code.UNSUPPORTED_PARAMETER, f"`{param}`: this upstream {why}.", param=param)


def _message(turn: Turn) -> dict[str, Any]:
    """What was thought stays here: upstreams take back none but their own thoughts."""
    said: dict[str, Any] = {"role": turn.role, "content": _content(turn)}
    if turn.role == "tool":
        said["tool_call_id"] = turn.call_id
    if turn.calls:
        said["tool_calls"] = [_call(call) for call in turn.calls]
    return said


def _content(turn: Turn) -> str | list[dict[str, Any]] | None:
    if turn.images:
        return [_part(part) for part in turn.content if not isinstance(part, str)]
    return None if turn.calls and not turn.text else turn.text


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": part.text}


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


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
            raise _unsupported("response_format", "keeps to no regular expression")
        case Grammar():
            raise _unsupported("response_format", "keeps to no grammar")


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """What differs from the canonical default, under the names that OpenAI's servers use."""
    if sampling.word_bias:
        raise _unsupported("logit_bias", "knows tokens by their ids only")
    plain = Sampling()
    said = {
        name: getattr(sampling, name)
        for name in sampling.__struct_fields__
        if getattr(sampling, name) != getattr(plain, name)
    }
    if "logit_bias" in said:
        said["logit_bias"] = {str(token): bias for token, bias in said["logit_bias"].items()}
    return said
