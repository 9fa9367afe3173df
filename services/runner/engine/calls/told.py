"""Tools for a model whose template knows none: told of in the conversation itself."""

from collections.abc import Sequence
from typing import Any

from proto.prompt import Tool
from services.runner.engine.calls.schema import function
from services.runner.engine.calls.writing import written

Message = dict[str, Any]
_INTRODUCTION = """\
# Tools

You can call functions. Each line between the tags below is one of them: its name, what it does, \
and the JSON schema of its arguments.

<tools>
{tools}
</tools>

When a function helps, call it. Write its name and its arguments as one JSON object between tags, \
exactly like this:

<tool_call>
{{"name": "the function's name", "arguments": {{"an argument": "its value"}}}}
</tool_call>

{count} Then stop: what it returns comes with the next message, between <tool_response> tags. \
When no function helps, answer without one."""
_MANY = "You may make several calls in a row, each between tags of its own."
_ONE = "Make only one call."


def with_tools(messages: list[Message], tools: Sequence[Tool], *, parallel: bool) -> list[Message]:
    """The tools are described at the end of what the system says first."""
    if not tools:
        return messages
    described = "\n".join(written(function(tool)["function"]) for tool in tools)
    text = _INTRODUCTION.format(tools=described, count=_MANY if parallel else _ONE)
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": text}, *messages]
    first = {**messages[0], "content": followed(messages[0]["content"], text, "\n\n")}
    return [first, *messages[1:]]


def result(message: Message, name: str) -> Message:
    """What a tool returned, as the user's words."""
    opening = f"<tool_response name={written(name)}>" if name else "<tool_response>"
    content = followed(followed(opening, message["content"]), "</tool_response>")
    return {"role": "user", "content": content, "is_result": True}


def gathered(messages: list[Message]) -> list[Message]:
    """Results that follow one another are one message."""
    out: list[Message] = []
    for message in messages:
        is_result = message.get("is_result", False)
        if is_result and out and out[-1].get("is_result"):
            out[-1] = {**out[-1], "content": followed(out[-1]["content"], message["content"])}
        else:
            out.append(message)
    return [{key: of for key, of in m.items() if key != "is_result"} for m in out]


def followed(content: Any, more: Any, between: str = "\n") -> Any:
    """One content after the other, each a string or a list of parts."""
    if isinstance(content, str) and isinstance(more, str):
        return between.join(filter(None, (content, more)))
    return [*_parts(content), *_parts(more)]


def _parts(content: Any) -> list[Any]:
    if not isinstance(content, str):
        return list(content)
    return [{"type": "text", "text": content}] if content else []
