"""Items: what a conversation is made of in this dialect, going in and coming out.

The types are the shape in which items are shown and stored, which is stricter than the one in
which clients may send them; ``received`` turns one into the other.
"""

from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import fields, replace

from proto.dialects.asked import Ignored, convert, invalid, unsupported

Status = Literal["in_progress", "completed", "incomplete"]
MessageRole = Literal["user", "assistant", "system", "developer"]

NOT_YET = {
    "input.content.type": "send parts of type input_text, input_image, output_text or refusal",
    "input.output.type": "send parts of type input_text or input_image",
    "input.role": "use user, assistant, system or developer",
}


class InputText(Struct, forbid_unknown_fields=True, kw_only=True, tag="input_text"):
    text: str
    prompt_cache_breakpoint: Ignored = None


class InputImage(Struct, forbid_unknown_fields=True, kw_only=True, tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] = "auto"
    prompt_cache_breakpoint: Ignored = None


class InputFile(Struct, forbid_unknown_fields=True, kw_only=True, tag="input_file"):
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: Ignored = None


class OutputText(Struct, forbid_unknown_fields=True, kw_only=True, tag="output_text"):
    text: str
    annotations: list[Any] = []
    logprobs: list[Any] | None = None


class Refusal(Struct, forbid_unknown_fields=True, kw_only=True, tag="refusal"):
    refusal: str


Part = InputText | InputImage | InputFile | OutputText | Refusal
ToolPart = InputText | InputImage | InputFile


class SummaryText(Struct, tag="summary_text"):
    text: str


class ReasoningText(Struct, tag="reasoning_text"):
    text: str


class PlainText(Struct, tag="text"):
    """What some servers call a piece of reasoning."""

    text: str


class Message(Struct, kw_only=True, tag="message"):
    id: str = ""
    role: MessageRole
    content: list[Part]
    status: Status = "completed"
    phase: Literal["commentary", "final_answer"] | None = None


class Reasoning(Struct, kw_only=True, tag="reasoning"):
    id: str = ""
    summary: list[SummaryText] = []
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: Status | None = None


class FunctionCall(Struct, kw_only=True, tag="function_call"):
    id: str = ""
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None
    status: Status = "completed"


class FunctionOutput(Struct, kw_only=True, tag="function_call_output"):
    id: str = ""
    call_id: str
    output: str | list[ToolPart]
    status: Status = "completed"


class CustomCall(Struct, kw_only=True, tag="custom_tool_call"):
    id: str = ""
    call_id: str
    name: str
    input: str
    namespace: str | None = None
    status: Status = "completed"


class CustomOutput(Struct, kw_only=True, tag="custom_tool_call_output"):
    id: str = ""
    call_id: str
    output: str | list[ToolPart]
    status: Status = "completed"


class Compaction(Struct, kw_only=True, tag="compaction"):
    """What a conversation came to, in place of its earlier items."""

    id: str = ""
    encrypted_content: str


class ItemReference(Struct, kw_only=True, tag="item_reference"):
    """Stands for an item of a stored response. Never stored itself."""

    id: str


Item = Message | Reasoning | FunctionCall | FunctionOutput | CustomCall | CustomOutput | Compaction

PREFIXES: dict[type, str] = {
    Message: "msg",
    Reasoning: "rs",
    FunctionCall: "fc",
    FunctionOutput: "fco",
    CustomCall: "ctc",
    CustomOutput: "ctco",
    Compaction: "cmp",
}
HISTORY_OF_HOSTED_TOOLS = frozenset(
    [
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "computer_call",
        "mcp_list_tools",
        "mcp_call",
        "mcp_approval_request",
        "tool_search_call",
        "tool_search_output",
    ]
)
"""What OpenAI's own tools did in an earlier answer: nothing that a model here could be shown."""


class _SaidMessage(Struct, kw_only=True):
    """A message as clients may send it."""

    role: MessageRole
    content: str | list[Part]
    id: str | None = None
    status: Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None
    type: Literal["message"] = "message"


class _SaidReasoning(Struct, kw_only=True):
    summary: list[SummaryText] | None = None
    content: list[ReasoningText | PlainText] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: Status | None = None
    type: Literal["reasoning"] = "reasoning"


class _SaidCall(Struct, kw_only=True):
    type: str
    call_id: str
    name: str
    arguments: str = ""
    input: str = ""
    namespace: str | None = None
    id: str | None = None
    status: Status | None = None


class _SaidOutput(Struct, kw_only=True):
    type: str
    call_id: str
    output: str | list[ToolPart]
    id: str | None = None
    status: Status | None = None


class Received(Struct, frozen=True):
    items: tuple[Item | ItemReference, ...]
    ignored: tuple[str, ...]
    """Fields and whole items that were taken and have no effect."""


def received(said: str | list[dict[str, Any]] | None) -> Received:
    """The input of a request. Raises MeshError that names the item and field at fault."""
    if said is None:
        return Received((), ())
    if isinstance(said, str):
        return Received((Message(role="user", content=[InputText(text=said)]),), ())
    items: list[Item | ItemReference] = []
    ignored: dict[str, None] = {}
    for index, item in enumerate(said):
        kind = _kind(item)
        if kind in HISTORY_OF_HOSTED_TOOLS:
            ignored[f"input.{kind}"] = None
            continue
        items.append(_item(kind, item, f"input[{index}]", ignored))
    return Received(tuple(items), tuple(ignored))


def _kind(item: dict[str, Any]) -> str:
    """Messages and references may leave their type out."""
    return str(item.get("type") or ("message" if "role" in item else "item_reference"))


def _item(
    kind: str, said: dict[str, Any], place: str, ignored: dict[str, None]
) -> Item | ItemReference:
    read = _READERS.get(kind)
    if read is None:
        known = ", ".join(_READERS)
        raise unsupported(f"{place}.type", f"items of type {kind!r} are not read; send {known}")
    type_, make = read
    named = {field.encode_name for field in fields(type_)} | {"type"}
    for field in said:
        if field not in named:
            ignored[f"input.{field}"] = None
    plain = {name: value for name, value in said.items() if name in named}
    item: Item | ItemReference = make(convert(plain | {"type": kind}, type_, place, NOT_YET), place)
    return item


def _message(said: _SaidMessage, place: str) -> Message:
    content = said.content
    if isinstance(content, str):
        content = [
            OutputText(text=content) if said.role == "assistant" else InputText(text=content)
        ]
    for index, part in enumerate(content):
        _expect_readable(part, f"{place}.content[{index}]")
    if said.role == "assistant":
        content = [OutputText(text=p.text) if isinstance(p, InputText) else p for p in content]
    else:
        content = [InputText(text=p.text) if isinstance(p, OutputText) else p for p in content]
    return Message(
        id=said.id or "",
        role=said.role,
        content=content,
        status=said.status or "completed",
        phase=said.phase,
    )


def _reasoning(said: _SaidReasoning, place: str) -> Reasoning:
    return Reasoning(
        id=said.id or "",
        summary=said.summary or [],
        content=None if said.content is None else [ReasoningText(p.text) for p in said.content],
        encrypted_content=said.encrypted_content,
        status=said.status,
    )


def _call(said: _SaidCall, place: str) -> FunctionCall | CustomCall:
    id, status = said.id or "", said.status or "completed"
    if said.type == "custom_tool_call":
        return CustomCall(
            id=id, call_id=said.call_id, name=said.name, input=said.input,
            namespace=said.namespace, status=status,
        )  # fmt: skip
    return FunctionCall(
        id=id, call_id=said.call_id, name=said.name, arguments=said.arguments,
        namespace=said.namespace, status=status,
    )  # fmt: skip


def _output(said: _SaidOutput, place: str) -> FunctionOutput | CustomOutput:
    if not isinstance(said.output, str):
        for index, part in enumerate(said.output):
            _expect_readable(part, f"{place}.output[{index}]")
    type_ = CustomOutput if said.type == "custom_tool_call_output" else FunctionOutput
    return type_(
        id=said.id or "",
        call_id=said.call_id,
        output=said.output,
        status=said.status or "completed",
    )


def _as_it_is(said: Any, place: str) -> Any:
    return said


_READERS: dict[str, tuple[Any, Any]] = {
    "message": (_SaidMessage, _message),
    "reasoning": (_SaidReasoning, _reasoning),
    "function_call": (_SaidCall, _call),
    "function_call_output": (_SaidOutput, _output),
    "custom_tool_call": (_SaidCall, _call),
    "custom_tool_call_output": (_SaidOutput, _output),
    "compaction": (Compaction, _as_it_is),
    "item_reference": (ItemReference, _as_it_is),
}


def _expect_readable(part: Part, place: str) -> None:
    if isinstance(part, InputFile):
        raise unsupported(place, "files are not read; send their text as input_text")
    if isinstance(part, InputImage) and not part.image_url:
        raise invalid(
            f"`{place}.image_url` is required, a data: or https: URL; files are not kept here.",
            f"{place}.image_url",
        )


def named(items: tuple[Item, ...], request: str, mark: str = "") -> tuple[Item, ...]:
    """The items, those without an id given one that tells the response they belong to."""
    return tuple(
        item if item.id else replace(item, id=item_id(type(item), request, f"{mark}{index}"))
        for index, item in enumerate(items)
    )


def item_id(type_: type, request: str, place: int | str) -> str:
    return f"{PREFIXES[type_]}_{request}_{place}"


def request_of(item: str) -> str | None:
    """The request that made an item, told by its id; None where the id is not of our making."""
    parts = item.split("_")
    return parts[1] if len(parts) == 3 else None
