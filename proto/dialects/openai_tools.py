"""The tools that OpenAI's clients offer, and how much of a choice they leave to the model.

Also for the Responses API, whose tools are the same with one level of nesting less.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from proto.dialects.asked import Ignored, invalid
from proto.prompt import Tool, ToolChoice

FunctionName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
Mode = Literal["none", "auto", "required"]

FUNCTIONS_ONLY = "only functions can be called; send tools of type function"
NOT_YET = {
    "tools.type": FUNCTIONS_ONLY,
    "tool_choice.type": "choose a tool of type function, or among allowed_tools",
    "tool_choice.allowed_tools.tools.type": FUNCTIONS_ONLY,
    "messages.tool_calls.type": FUNCTIONS_ONLY,
}


class Function(Struct, forbid_unknown_fields=True, kw_only=True):
    """What may be called."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """JSON schema of an object. Left out: any object."""
    strict: bool | None = None
    """The arguments satisfy the schema, whatever the model would have liked to write."""


class FunctionTool(Struct, forbid_unknown_fields=True, kw_only=True, tag="function"):
    function: Function


class FunctionReference(Struct, forbid_unknown_fields=True):
    name: FunctionName


class NamedChoice(Struct, forbid_unknown_fields=True, kw_only=True, tag="function"):
    """This one must be called."""

    function: FunctionReference


class AllowedTool(Struct, forbid_unknown_fields=True, kw_only=True, tag="function"):
    function: FunctionReference


class AllowedTools(Struct, forbid_unknown_fields=True, kw_only=True):
    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1)]


class AllowedChoice(Struct, forbid_unknown_fields=True, kw_only=True, tag="allowed_tools"):
    """Some of the tools only; the others stay in the prompt, and in its cache."""

    allowed_tools: AllowedTools


Choice = Mode | NamedChoice | AllowedChoice


class CalledFunction(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1)]
    arguments: str
    """JSON, as the model wrote it."""


class Called(Struct, forbid_unknown_fields=True, kw_only=True, tag="function"):
    """A call in an earlier answer, sent back."""

    id: Annotated[str, Meta(min_length=1)]
    function: CalledFunction
    index: Ignored = None
    """From clients that send back what they put together from a stream."""


def tools(functions: Iterable[Function], field: str) -> tuple[Tool, ...]:
    """What the model is shown. Raises MeshError, naming places below ``field``.

    ``field`` holds a ``[]`` where the index goes, such as ``tools[].function``.
    """
    known: dict[str, Tool] = {}
    for index, function in enumerate(functions):
        place = field.replace("[]", f"[{index}]")
        if function.name in known:
            raise invalid(
                f"`{place}.name`: there is a function {function.name!r} already; rename one.",
                f"{place}.name",
            )
        known[function.name] = Tool(
            name=function.name,
            description=function.description or "",
            parameters=_object_schema(function.parameters or {}, f"{place}.parameters"),
            strict=bool(function.strict),
        )
    return tuple(known.values())


def _object_schema(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """Arguments are an object always, so a schema that leaves that open need not say it."""
    if not schema:
        return {}
    if schema.get("type", "object") != "object":
        raise invalid(f"`{place}`: arguments are an object; send a schema with type object.", place)
    return {"type": "object"} | schema


def choose(
    mode: Mode | None,
    names: Iterable[str],
    offered: tuple[Tool, ...],
    parallel: bool | None,
    field: str = "tool_choice",
) -> ToolChoice:
    """The choice among the tools offered; ``names`` are those allowed, none means all.

    Raises MeshError when there is nothing to choose from, or not what is named.
    """
    known = {tool.name for tool in offered}
    allowed = tuple(dict.fromkeys(names))
    if not known and (allowed or mode == "required"):
        raise invalid(f"`{field}` needs something to call; add tools, or leave it out.", field)
    for name in allowed:
        if name not in known:
            raise invalid(
                f"`{field}`: there is no function {name!r}; choose among "
                f"{', '.join(sorted(known))}.",
                field,
            )
    if not known:
        return ToolChoice()
    return ToolChoice(mode=mode or "auto", allowed=allowed, parallel=parallel is not False)


def chosen(choice: Choice | None, offered: tuple[Tool, ...], parallel: bool | None) -> ToolChoice:
    """``tool_choice`` of chat completions. Raises MeshError."""
    match choice:
        case NamedChoice(function=function):
            # Who names one function waits for one call of it.
            return choose("required", (function.name,), offered, False)
        case AllowedChoice(allowed_tools=allowed):
            names = [tool.function.name for tool in allowed.tools]
            return choose(allowed.mode, names, offered, parallel)
        case _:
            return choose(choice, (), offered, parallel)
