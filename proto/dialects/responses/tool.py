"""The tools of this dialect: functions, free-form tools, and namespaces that group both.

Tools that OpenAI runs itself cannot be called here. Those that agents send unasked are left
out of the prompt and named; the others are refused.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from proto.dialects import openai_tools
from proto.dialects.asked import Ignored, NonEmpty, convert, unsupported
from proto.dialects.openai_tools import Function, FunctionName, Mode
from proto.dialects.responses.freeform import PARAMETERS
from proto.prompt import Tool, ToolChoice

SENT_UNASKED = frozenset({"web_search", "image_generation", "tool_search"})
"""Codex sends these with every request, and works without them."""
INSTEAD = "tools that OpenAI runs cannot be called; send tools of type function or custom"
NOT_YET = {
    "tools.type": INSTEAD,
    "tools.tools.type": INSTEAD,
    "tools.format.type": "there are text and grammar",
    "tool_choice.type": "choose a tool of type function or custom, or among allowed_tools",
    "tool_choice.tools.type": "choose among tools of type function or custom",
}


class _Callable(Struct, forbid_unknown_fields=True, kw_only=True):
    name: FunctionName
    description: str | None = None
    allowed_callers: Ignored = None
    is_async: Ignored = msgspec.field(default=None, name="async")
    defer_loading: Ignored = None
    """Every tool is there from the beginning."""


class FunctionTool(_Callable, forbid_unknown_fields=True, kw_only=True, tag="function"):
    parameters: dict[str, Any] | None = None
    """JSON schema of an object. Left out: any object."""
    strict: bool | None = None
    """The arguments satisfy the schema, whatever the model would have liked to write."""
    output_schema: Ignored = None


class AnyText(Struct, forbid_unknown_fields=True, tag="text"):
    """Whatever the model writes."""


class GrammarText(Struct, forbid_unknown_fields=True, kw_only=True, tag="grammar"):
    """Text of a grammar. A regular expression is enforced, a Lark grammar told to the model."""

    syntax: Literal["lark", "regex"]
    definition: NonEmpty


class CustomTool(_Callable, forbid_unknown_fields=True, kw_only=True, tag="custom"):
    """Its input is text, not JSON."""

    format: AnyText | GrammarText | None = None


class NamespaceTool(Struct, forbid_unknown_fields=True, kw_only=True, tag="namespace"):
    """Tools under a common name, which stands before their own wherever the model sees them."""

    name: FunctionName
    description: str = ""
    tools: Annotated[list[FunctionTool | CustomTool], Meta(min_length=1)]


AnyTool = FunctionTool | CustomTool | NamespaceTool
_TYPES: dict[str, Any] = {
    "function": FunctionTool,
    "custom": CustomTool,
    "namespace": NamespaceTool,
}


class NamedChoice(Struct, forbid_unknown_fields=True, kw_only=True):
    type: Literal["function", "custom"]
    name: NonEmpty
    namespace: str | None = None


class AllowedChoice(Struct, forbid_unknown_fields=True, kw_only=True):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedChoice], Meta(min_length=1)]


class Offer(Struct, frozen=True):
    """A tool under the name by which the model calls it."""

    name: str
    namespace: str | None
    is_freeform: bool


class Offered(Struct, frozen=True):
    tools: tuple[Tool, ...] = ()
    """As the model is shown them."""
    offers: dict[str, Offer] = {}
    said: tuple[AnyTool, ...] = ()
    """As the client sent them, those left out that have no effect."""
    ignored: tuple[str, ...] = ()

    def offer(self, name: str) -> Offer:
        """What the model means by a name, also one that nobody offered."""
        return self.offers.get(name) or Offer(name, None, False)


def offered(said: Iterable[dict[str, Any]] | None) -> Offered:
    """Raises MeshError that names the tool and field at fault."""
    tools: list[AnyTool] = []
    ignored: dict[str, None] = {}
    for index, tool in enumerate(said or ()):
        kind = str(tool.get("type"))
        if kind in SENT_UNASKED:
            ignored[f"tools.{kind}"] = None
            continue
        if kind not in _TYPES:
            raise unsupported(f"tools[{index}].type", f"no {kind!r} here: {INSTEAD}")
        tools.append(_read(tool, f"tools[{index}]"))
    offers: dict[str, Offer] = {}
    functions = []
    for namespace, each in _flat(tools):
        function = _function(namespace, each)
        functions.append(function)
        offers[function.name] = Offer(each.name, namespace, isinstance(each, CustomTool))
        if isinstance(each, CustomTool) and _is_only_told(each):
            ignored["tools.format"] = None
    return Offered(openai_tools.tools(functions, "tools[]"), offers, tuple(tools), tuple(ignored))


def _read(said: dict[str, Any], place: str) -> AnyTool:
    tool: AnyTool = convert(said, _TYPES[said["type"]], place, NOT_YET)
    if isinstance(tool, FunctionTool):
        return replace(tool, strict=bool(tool.strict))
    return tool


def _flat(tools: list[AnyTool]) -> Iterable[tuple[str | None, FunctionTool | CustomTool]]:
    for tool in tools:
        if isinstance(tool, NamespaceTool):
            yield from ((tool.name, each) for each in tool.tools)
        else:
            yield None, tool


def called(name: str, namespace: str | None) -> str:
    """The name by which a model calls a tool. Two underscores are Codex's own way to join."""
    if not namespace:
        return name
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def _function(namespace: str | None, tool: FunctionTool | CustomTool) -> Function:
    name = called(tool.name, namespace)
    if isinstance(tool, FunctionTool):
        return Function(
            name=name,
            description=tool.description,
            parameters=tool.parameters,
            strict=bool(tool.strict),
        )
    return Function(
        name=name, description=_explained(tool), parameters=_enforced(tool), strict=True
    )


def _is_only_told(tool: CustomTool) -> bool:
    return isinstance(tool.format, GrammarText) and tool.format.syntax == "lark"


def _explained(tool: CustomTool) -> str:
    """What the client says, and how the text gets into JSON, which nobody else tells the model."""
    lines = [tool.description or "", "Give the whole text, as it is, in the argument `input`."]
    if isinstance(tool.format, GrammarText) and tool.format.syntax == "lark":
        lines.append(f"The text follows this Lark grammar:\n{tool.format.definition}")
    return "\n\n".join(line for line in lines if line)


def _enforced(tool: CustomTool) -> dict[str, Any]:
    if not isinstance(tool.format, GrammarText) or tool.format.syntax == "lark":
        return PARAMETERS
    text = {"type": "string", "pattern": f"^(?:{tool.format.definition})$"}
    return PARAMETERS | {"properties": {"input": text}}


def chosen(
    choice: Mode | dict[str, Any] | None, offered: Offered, parallel: bool | None
) -> ToolChoice:
    """Raises MeshError."""
    if choice is None or isinstance(choice, str):
        return openai_tools.choose(choice, (), offered.tools, parallel)
    kind = choice.get("type")
    if kind == "allowed_tools":
        allowed = convert(choice, AllowedChoice, "tool_choice", NOT_YET)
        names = [called(tool.name, tool.namespace) for tool in allowed.tools]
        return openai_tools.choose(allowed.mode, names, offered.tools, parallel)
    named = convert(choice, NamedChoice, "tool_choice", NOT_YET)
    name = called(named.name, named.namespace)
    # Who names one tool waits for one call of it.
    return openai_tools.choose("required", (name,), offered.tools, False)
