"""Tools of clients whose form Anthropic defined: what the vendor keeps to itself, written out.

A client names only the type; the parameters are those that its program understands.
Forms: https://docs.claude.com/en/docs/agents-and-tools/tool-use
"""

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta, Struct

from proto.dialects.asked import Ignored

ToolName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]


class Offered(Struct, forbid_unknown_fields=True, kw_only=True):
    """What all tools of a client have."""

    name: ToolName
    cache_control: Ignored = None
    strict: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None
    input_examples: list[dict[str, Any]] | None = None


class Bash(Offered, forbid_unknown_fields=True, kw_only=True):
    type: str


class Memory(Offered, forbid_unknown_fields=True, kw_only=True):
    type: str


class TextEditor(Offered, forbid_unknown_fields=True, kw_only=True):
    type: str
    max_characters: int | None = None
    """For the client, which shortens what it shows."""


class Computer(Offered, forbid_unknown_fields=True, kw_only=True):
    type: str
    display_width_px: int
    display_height_px: int
    display_number: int | None = None
    enable_zoom: bool | None = None


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _whole(description: str) -> dict[str, Any]:
    return {"type": "integer", "description": description}


def _two(description: str) -> dict[str, Any]:
    pair = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    return pair | {"description": description}


def _one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


def _bash(_: Any) -> dict[str, Any]:
    return _object(
        {
            "command": _text("What to run. Needed unless the shell is restarted."),
            "restart": {"type": "boolean", "description": "Begin with a fresh shell."},
        }
    )


_VIEW_RANGE = _two("For view: first and last line, counted from 1; -1 is the end of the file.")


def _text_editor(tool: Any) -> dict[str, Any]:
    is_new = tool.type == "text_editor_20250728"
    undoes = tool.type in ("text_editor_20241022", "text_editor_20250124")
    inserted = {"insert_text": _text("For insert: the text.")} if is_new else {}
    return _object(
        {
            "command": _one_of(
                "view", "create", "str_replace", "insert", *(["undo_edit"] if undoes else [])
            ),
            "path": _text("Absolute path of a file or, for view, a folder."),
            "file_text": _text("For create: the whole file."),
            "old_str": _text("For str_replace: what to replace; it must occur exactly once."),
            "new_str": _text(
                "For str_replace: what to put there."
                if is_new
                else "For str_replace: what to put there. For insert: the text."
            ),
            "insert_line": _whole("For insert: the line after which the text goes; 0: the top."),
            **inserted,
            "view_range": _VIEW_RANGE,
        },
        "command",
        "path",
    )


def _memory(_: Any) -> dict[str, Any]:
    return _object(
        {
            "command": _one_of("view", "create", "str_replace", "insert", "delete", "rename"),
            "path": _text("Below /memories. For all commands but rename."),
            "file_text": _text("For create: the whole file."),
            "old_str": _text("For str_replace: what to replace; it must occur exactly once."),
            "new_str": _text("For str_replace: what to put there."),
            "insert_line": _whole("For insert: the line after which the text goes; 0: the top."),
            "insert_text": _text("For insert: the text."),
            "old_path": _text("For rename: from where."),
            "new_path": _text("For rename: to where."),
            "view_range": _VIEW_RANGE,
        },
        "command",
    )


_FIRST_ACTIONS = (
    "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click",
    "double_click", "screenshot", "cursor_position",
)  # fmt: skip
_LATER_ACTIONS = (
    "left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait", "triple_click",
)  # fmt: skip


def _computer(tool: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "action": _one_of(*_FIRST_ACTIONS),
        "coordinate": _two("x and y in pixels from the top left corner."),
        "text": _text("For type: the text. For key: the key or combination, such as ctrl+s."),
    }
    if tool.type != "computer_20241022":
        properties |= {
            "action": _one_of(*_FIRST_ACTIONS, *_LATER_ACTIONS),
            "start_coordinate": _two("For left_click_drag: where it begins."),
            "scroll_direction": _one_of("up", "down", "left", "right"),
            "scroll_amount": _whole("For scroll: clicks of the wheel."),
            "duration": {"type": "number", "description": "For hold_key and wait: seconds."},
        }
    if tool.type == "computer_20251124" and tool.enable_zoom:
        region = {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}
        properties |= {
            "action": _one_of(*_FIRST_ACTIONS, *_LATER_ACTIONS, "zoom"),
            "region": region | {"description": "For zoom: x0, y0, x1, y1 of what to look at."},
        }
    return _object(properties, "action")


def _screen(tool: Any) -> str:
    return (
        "Use the mouse, the keyboard and the screen of a computer, and take screenshots of it. "
        f"The screen is {tool.display_width_px} x {tool.display_height_px} pixels."
    )


class Form(Struct, frozen=True):
    """A tool whose form the vendor defined and whose client runs it."""

    kinds: tuple[str, ...]
    fields: type[Offered]
    describe: Callable[[Any], str]
    schema: Callable[[Any], dict[str, Any]]


FORMS = (
    Form(
        ("bash_20241022", "bash_20250124"),
        Bash,
        lambda _: "Run commands in a bash shell that keeps its state from call to call.",
        _bash,
    ),
    Form(
        (
            "text_editor_20241022", "text_editor_20250124", "text_editor_20250429",
            "text_editor_20250728",
        ),
        TextEditor,
        lambda _: "View, create and edit text files.",
        _text_editor,
    ),
    Form(
        ("computer_20241022", "computer_20250124", "computer_20251124"),
        Computer,
        _screen,
        _computer,
    ),
    Form(
        ("memory_20250818",),
        Memory,
        lambda _: "Keep notes in files below /memories that outlast this conversation. Look there "
        "before you begin, and write down what will be needed later.",
        _memory,
    ),
)  # fmt: skip
