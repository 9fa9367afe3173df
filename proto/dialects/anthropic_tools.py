"""The tools that Anthropic's clients offer.

A tool that the client runs is a function to the model, whoever defined it. One
that runs on the vendor's servers cannot be had here.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from proto.dialects.anthropic_forms import FORMS, Offered
from proto.dialects.asked import convert, invalid, mark, unsupported
from proto.prompt import Tool

RawTool = Annotated[
    dict[str, Any],
    Meta(
        description="A function of the client, or a bash_*, text_editor_*, computer_* or memory_* "
        "tool of the vendor's.",
        extra_json_schema={
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,128}$"},
                "type": {"type": ["string", "null"]},
                "description": {"type": "string"},
                "input_schema": {"type": "object"},
                "strict": {"type": "boolean"},
            },
        },
    ),
]
"""Each type has fields of its own, so they are looked at one by one."""

ELSEWHERE = (
    "web_search_", "web_fetch_", "code_execution_", "bash_code_execution_",
    "text_editor_code_execution_", "tool_search_tool_", "advisor_", "mcp_toolset",
)  # fmt: skip
"""Beginnings of types that run on the vendor's servers."""


class Custom(Offered, forbid_unknown_fields=True, kw_only=True):
    """A function of the client's own."""

    type: Literal["custom"] | None = None
    description: str | None = None
    input_schema: dict[str, Any]
    eager_input_streaming: bool | None = None
    """Input is always streamed as it is made."""


def tools_of(raw: list[dict[str, Any]]) -> tuple[Tool, ...]:
    """Raises MeshError that names the tool at fault."""
    tools = tuple(_tool(tool, f"tools[{at}]") for at, tool in enumerate(raw))
    names: set[str] = set()
    for tool in tools:
        if tool.name in names:
            raise invalid(
                f"`tools`: there are two tools named {tool.name}; give each a name.", "tools"
            )
        names.add(tool.name)
    return tools


def deferred(raw: list[dict[str, Any]]) -> bool:
    """True when a tool asks to be shown only once a search has found it."""
    return any(tool.get("defer_loading") for tool in raw)


def _tool(raw: dict[str, Any], where: str) -> Tool:
    kind = raw.get("type") or "custom"
    if not isinstance(kind, str):
        raise invalid(f"`{where}.type` is the name of a type; send a string.", f"{where}.type")
    if kind == "custom":
        return _custom(convert(raw, Custom, where, {}), where)
    if kind.startswith(ELSEWHERE):
        raise unsupported(
            f"{where}.type",
            f"{kind} runs on the vendor's servers and cannot be had here; leave it out, or offer a "
            "function of your own",
        )
    known = next((form for form in FORMS if kind in form.kinds), None)
    if known is None:
        raise unsupported(
            f"{where}.type",
            f"{kind} is not known here; send functions with name, description and input_schema, or "
            f"one of {', '.join(kind for form in FORMS for kind in form.kinds)}",
        )
    offered = convert(raw, known.fields, where, {})
    _expect_direct(offered, where)
    return _described(offered, known.describe(offered), known.schema(offered))


def _custom(tool: Custom, where: str) -> Tool:
    _expect_direct(tool, where)
    if tool.input_schema.get("type", "object") != "object":
        raise invalid(
            f'`{where}.input_schema.type` must be "object": a tool is called with named arguments.',
            f"{where}.input_schema.type",
        )
    return _described(tool, tool.description or "", tool.input_schema)


def _described(tool: Offered, description: str, schema: dict[str, Any]) -> Tool:
    if tool.input_examples:
        shown = "\n".join(msgspec.json.encode(each).decode() for each in tool.input_examples)
        description = f"{description}\n\nExamples of its input:\n{shown}".strip()
    return Tool(
        name=tool.name,
        description=description,
        parameters=schema,
        strict=bool(tool.strict),
        cache=mark(tool.cache_control),
    )


def _expect_direct(tool: Offered, where: str) -> None:
    if tool.allowed_callers is not None and "direct" not in tool.allowed_callers:
        raise unsupported(
            f"{where}.allowed_callers",
            "only the model calls tools here; add direct, or leave it out",
        )
