"""What models of each family write: calls rendered as the family's own template does."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Call = tuple[str, dict[str, Any]]
Section = str
"""What stands between the markers of a section."""


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def plain(value: Any) -> str:
    return value if isinstance(value, str) else compact(value)


def _each(one: Callable[[str, dict[str, Any]], str]) -> Callable[[Sequence[Call]], list[Section]]:
    return lambda calls: [one(name, arguments) for name, arguments in calls]


def _together(
    one: Callable[[int, str, dict[str, Any]], str],
    start: str = "",
    between: str = "",
    end: str = "",
) -> Callable[[Sequence[Call]], list[Section]]:
    return lambda calls: [start + between.join(one(i, *call) for i, call in enumerate(calls)) + end]


def _json_tools(name: str, arguments: dict[str, Any]) -> str:
    return f'\n{{"name": {compact(name)}, "arguments": {compact(arguments)}}}\n'


def _mistral(i: int, name: str, arguments: dict[str, Any]) -> str:
    return f"{name}[ARGS]{compact(arguments)}"


def mistral_list(calls: Sequence[Call]) -> list[Section]:
    return [
        compact(
            [
                {"name": name, "arguments": arguments, "id": f"abcdefgh{i}"}
                for i, (name, arguments) in enumerate(calls)
            ]
        )
    ]


def _kimi_k2(i: int, name: str, arguments: dict[str, Any]) -> str:
    return (
        f"<|tool_call_begin|>functions.{name}:{i}<|tool_call_argument_begin|>"
        f"{compact(arguments)}<|tool_call_end|>"
    )


def _kimi_k3(i: int, name: str, arguments: dict[str, Any]) -> str:
    def kind(value: Any) -> str:
        if isinstance(value, bool):
            return "boolean"
        names = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
        return names.get(type(value), "null")

    inner = "".join(
        f'<|open|>argument key="{key}" type="{kind(value)}"<|sep|>{plain(value)}'
        "<|close|>argument<|sep|>"
        for key, value in arguments.items()
    )
    return f'<|open|>call tool="{name}" index="{i + 1}"<|sep|>{inner}<|close|>call<|sep|>'


def _qwen3_coder(name: str, arguments: dict[str, Any]) -> str:
    inner = "".join(
        f"<parameter={key}>\n{plain(value)}\n</parameter>\n" for key, value in arguments.items()
    )
    return f"\n<function={name}>\n{inner}</function>\n"


def _glm(prefix: str) -> Callable[[str, dict[str, Any]], str]:
    def one(name: str, arguments: dict[str, Any]) -> str:
        inner = "".join(
            f"<{prefix}arg_key>{key}</{prefix}arg_key>\n"
            f"<{prefix}arg_value>{plain(value)}</{prefix}arg_value>\n"
            for key, value in arguments.items()
        )
        return f"{name}\n{inner}"

    return one


def _minimax_m2(_: int, name: str, arguments: dict[str, Any]) -> str:
    inner = "".join(
        f'<parameter name="{key}">{plain(value)}</parameter>\n' for key, value in arguments.items()
    )
    return f'<invoke name="{name}">\n{inner}</invoke>'


def _minicpm5(name: str, arguments: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        is_wrapped = isinstance(value, str) and any(mark in value for mark in "<&\n")
        return f"<![CDATA[{value}]]>" if is_wrapped else plain(value)

    inner = "".join(
        f'<param name="{key}">{shown(value)}</param>' for key, value in arguments.items()
    )
    return f'"{name}">{inner}'


def _muse_spark(_: int, name: str, arguments: dict[str, Any]) -> str:
    inner = "".join(
        f'<atem:parameter name="{key}">{plain(value)}</atem:parameter>\n'
        for key, value in arguments.items()
    )
    return f'<atem:invoke name="{name}">\n{inner}</atem:invoke>'


def _gemma(quote: str) -> Callable[[str, dict[str, Any]], str]:
    def shown(value: Any) -> str:
        match value:
            case str():
                return f"{quote}{value}{quote}"
            case dict():
                return f"{{{','.join(f'{key}:{shown(of)}' for key, of in value.items())}}}"
            case list():
                return f"[{','.join(map(shown, value))}]"
            case _:
                return compact(value)

    return lambda name, arguments: f"call:{name}{shown(arguments)}"


def _pythonic(_: int, name: str, arguments: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        return compact(value) if isinstance(value, str | dict | list) else repr(value)

    return f"{name}({', '.join(f'{key}={shown(value)}' for key, value in arguments.items())})"


@dataclass(frozen=True)
class Written:
    """A family's markers, and the sections in which it writes calls."""

    start: str
    end: str
    sections: Callable[[Sequence[Call]], list[Section]]
    markers: tuple[str, ...] = ()
    """Further tokens of its own, besides start and end."""
    trims: bool = False
    """Texts lose the white space around them."""
    template: str = ""
    """Words by which mlx-lm knows the family."""


FAMILIES = {
    "json_tools": Written(
        "<tool_call>", "</tool_call>", _each(_json_tools), template="<tool_call>{{tool_call.name}}"
    ),
    "mistral": Written(
        "[TOOL_CALLS]", "", _together(_mistral, between="[TOOL_CALLS]"), ("[ARGS]",),
        template="[TOOL_CALLS]",
    ),
    "kimi_k2": Written(
        "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", _together(_kimi_k2),
        ("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
        template="<|tool_calls_section_begin|>",
    ),
    "kimi_k3": Written(
        "<|open|>tools<|sep|>", "<|close|>tools<|sep|>", _together(_kimi_k3),
        ("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"),
    ),
    "qwen3_coder": Written(
        "<tool_call>", "</tool_call>", _each(_qwen3_coder), template="<tool_call>\n<function=",
    ),
    "glm47": Written(
        "<tool_call>", "</tool_call>", _each(_glm("")),
        ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"), trims=True,
        template="<arg_key>",
    ),
    "longcat": Written(
        "<longcat_tool_call>", "</longcat_tool_call>", _each(_glm("longcat_")), trims=True,
        template="<longcat_tool_call>",
    ),
    "minimax_m2": Written(
        "<minimax:tool_call>", "</minimax:tool_call>",
        _together(_minimax_m2, "\n", "\n", "\n"), trims=True, template="<minimax:tool_call>",
    ),
    "minicpm5": Written(
        "<function name=", "</function>", _each(_minicpm5), trims=True,
        template='<function name="<param name="',
    ),
    "gemma4": Written(
        "<|tool_call>", "<tool_call|>", _each(_gemma('<|"|>')), ('<|"|>',),
        template="<|tool_call><tool_call|>",
    ),
    "function_gemma": Written(
        "<start_function_call>", "<end_function_call>", _each(_gemma("<escape>")), ("<escape>",),
        template="<start_function_call>",
    ),
    "pythonic": Written(
        "<|tool_call_start|>", "<|tool_call_end|>", _together(_pythonic, "[", ", ", "]"),
        template="<|tool_call_start|>",
    ),
    "muse_spark": Written(
        "<atem:function_calls>", "</atem:function_calls>",
        _together(_muse_spark, "\n", "\n", "\n"), trims=True, template="<atem:function_calls>",
    ),
}  # fmt: skip
