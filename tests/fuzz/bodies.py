"""Bodies that clients might send, and those that none should: from the types, from real ones."""

import json
from copy import deepcopy
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from tests.unit.gateway.scripted import MODEL

HI = [{"role": "user", "content": "Hi"}]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"enum": ["x", 1, None]}}},
    "required": ["a"],
}
FUNCTION = {"name": "look", "description": "Looks.", "parameters": SCHEMA}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": []}'}}
REAL: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "seen"},
            ],
            "tools": [{"type": "function", "function": FUNCTION}],
            "tool_choice": {"type": "function", "function": {"name": "look"}},
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.5,
            "logit_bias": {"5": 1.5, "word": -3},
            "stop": ["a", "b"],
            "seed": 7,
            "n": 2,
            "user": "u",
            "metadata": {"a": "b"},
            "chat_template_kwargs": {"enable_thinking": False},
        },
        {
            "model": MODEL,
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": PIXEL}}],
                }
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": SCHEMA, "strict": True},
            },
            "logprobs": True,
            "top_logprobs": 3,
        },
        {"model": MODEL, "messages": HI, "functions": [FUNCTION], "function_call": "auto"},
    ],
    "/v1/completions": [
        {"model": MODEL, "prompt": ["Hi", [5, 6]], "n": 2, "best_of": 2, "logprobs": 1},
        {"model": MODEL, "prompt": "Hi", "echo": True, "stop": "x", "suffix": ""},
    ],
    "/v1/messages": [
        {
            "model": MODEL,
            "max_tokens": 9,
            "system": [{"type": "text", "text": "Be.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": []}},
                    ],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "seen"}],
                },
            ],
            "tools": [{"name": "look", "description": "Looks.", "input_schema": SCHEMA}],
            "tool_choice": {"type": "tool", "name": "look"},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "stop_sequences": ["a"],
            "stream": True,
            "metadata": {"user_id": "u"},
        }
    ],
    "/v1/messages/count_tokens": [{"model": MODEL, "messages": HI, "system": "Be."}],
    "/v1/responses": [
        {
            "model": MODEL,
            "input": [
                {"type": "message", "role": "user", "content": "Hi"},
                {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "seen"},
            ],
            "instructions": "Be.",
            "tools": [{"type": "function", **FUNCTION, "strict": True}],
            "text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}},
            "reasoning": {"effort": "low"},
            "metadata": {"a": "b"},
            "store": False,
            "stream": True,
        },
        {"model": MODEL, "input": "Hi", "previous_response_id": "resp_1"},
    ],
    "/v1/embeddings": [{"model": MODEL, "input": ["a", "b"], "dimensions": 2}],
    "/v1/rerank": [{"model": MODEL, "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1}],
    "/v1/tokenize": [{"model": MODEL, "prompt": "Hi"}, {"model": MODEL, "messages": HI}],
    "/v1/detokenize": [{"model": MODEL, "tokens": [1, 2]}],
    "/api/chat": [
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": "Hi", "images": [PIXEL[22:]]}],
            "tools": [{"type": "function", "function": FUNCTION}],
            "options": {"temperature": 0.1, "num_predict": 5, "stop": ["x"]},
            "format": SCHEMA,
            "keep_alive": "5m",
            "think": True,
        }
    ],
    "/api/generate": [{"model": MODEL, "prompt": "Hi", "system": "Be.", "stream": False}],
    "/api/embed": [{"model": MODEL, "input": ["a"], "truncate": True}],
    "/api/show": [{"model": MODEL, "verbose": True}],
}
"""By path: what clients do send."""

ODD_TEXTS = (
    "", " ", "\x00", "\ufeff", "\u202e", "\U0010ffff", "a\u0301" * 40, "\r\n\r\n", "x" * 70_000,
    "../../etc/passwd", "{{ 7*7 }}", "<|im_end|>", "%s%n", "'; --", "data:,", "http://127.0.0.1/",
    "file:///etc/passwd", "NaN", "1e400",
)  # fmt: skip
ODD_NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 1e308, -1e-308, 0.5)


TIMES = (1, 40, 3000)
ROOM = 200_000
"""Characters that one part may be made to take."""
DAMAGES = (
    b"\\ud800", b"\\u0000", b"\xff", b"\xef\xbb\xbf", b"[" * 5000, b"1e9999", b'"', b"}",
)  # fmt: skip


def nested(depth: int) -> Any:
    value: Any = []
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


ODD = (
    st.none()
    | st.booleans()
    | st.sampled_from(ODD_TEXTS)
    | st.sampled_from(ODD_NUMBERS)
    | st.text(max_size=6)
    | st.builds(list)
    | st.builds(dict)
    | st.builds(dict, type=st.just("x"))
    | st.integers(5, 400).map(nested)
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every way into a body."""
    found = [way] if way else []
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in inner:
            found += places(part, (*way, key))
    return found


@st.composite
def mutated(draw: st.DrawFn, path: str) -> bytes:
    """A real body with a few of its parts replaced, dropped, doubled or moved."""
    body = deepcopy(draw(st.sampled_from(REAL[path])))
    for _ in range(draw(st.integers(1, 3))):
        known = places(body)
        way = draw(st.sampled_from(known)) if known else ()
        if not way:
            break
        holder = body
        for step in way[:-1]:
            holder = holder[step]
        match draw(st.sampled_from(["odd", "odd", "drop", "double", "move", "add"])):
            case "odd":
                holder[way[-1]] = draw(ODD)
            case "drop":
                del holder[way[-1]]
            case "double" if isinstance(holder, list):
                size = len(json.dumps(holder[way[-1]]))
                holder.extend([holder[way[-1]]] * min(draw(st.sampled_from(TIMES)), ROOM // size))
            case "move":
                other = draw(st.sampled_from(known))
                target = body
                try:
                    for step in other[:-1]:
                        target = target[step]
                    target[other[-1]] = deepcopy(holder[way[-1]])
                except (KeyError, IndexError, TypeError):
                    continue
            case _ if isinstance(holder, dict):
                holder[draw(st.text(max_size=8))] = draw(ODD)
    return json.dumps(body).encode()


@st.composite
def garbled(draw: st.DrawFn, path: str) -> bytes:
    """The bytes of a real body, damaged."""
    body = bytearray(json.dumps(draw(st.sampled_from(REAL[path]))).encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        piece = draw(
            st.binary(max_size=6)
            | st.sampled_from(
                [
                    b"\\ud800",
                    b"\\u0000",
                    b"\xff",
                    b"\xef\xbb\xbf",
                    b"[" * 5000,
                    b"1e9999",
                    b'"',
                    b"}",
                ]
            )
        )
        body[at : at + draw(st.integers(0, 5))] = piece
    return bytes(body)


@cache
def typed(type_: Any) -> st.SearchStrategy[Any]:
    """What a msgspec type lets in, on the whole; where it is not kept to, that is a case, too."""
    return _of(inspect.type_info(type_), 4)


def _of(info: Any, depth: int) -> st.SearchStrategy[Any]:
    match info:
        case inspect.UnionType():
            return st.one_of([_of(one, depth) for one in info.types])
        case inspect.Metadata():
            return _of(info.type, depth)
        case inspect.LiteralType():
            return st.sampled_from(list(info.values))
        case inspect.StructType():
            return _struct(info, depth)
        case inspect.ListType() | inspect.VarTupleType() | inspect.CollectionType():
            most = info.max_length if info.max_length is not None else 3
            inner = _of(info.item_type, depth - 1) if depth else st.nothing()
            return st.lists(inner, max_size=min(most, 3)) if depth else st.builds(list)
        case inspect.DictType():
            values = _of(info.value_type, depth - 1) if depth else ODD
            return st.dictionaries(_of(info.key_type, 0), values, max_size=3)
        case inspect.StrType():
            most = min(info.max_length or 12, 12)
            return st.text(min_size=min(info.min_length or 0, most), max_size=most) | st.just(MODEL)
        case inspect.IntType():
            return st.integers(_least(info, -(2**63)), _most(info, 2**63 - 1))
        case inspect.FloatType():
            least, most = _least(info, None), _most(info, None)
            return st.floats(least, most, allow_nan=False, allow_infinity=False)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case _:
            return ODD


def _least(info: Any, default: Any) -> Any:
    return info.ge if info.ge is not None else info.gt + 1 if info.gt is not None else default


def _most(info: Any, default: Any) -> Any:
    return info.le if info.le is not None else info.lt - 1 if info.lt is not None else default


def _struct(info: inspect.StructType, depth: int) -> st.SearchStrategy[Any]:
    required = {f.encode_name: _of(f.type, depth - 1) for f in info.fields if f.required}
    optional = {f.encode_name: _of(f.type, depth - 1) for f in info.fields if not f.required}
    if depth <= 0:
        optional = {}
    tag = {info.tag_field: st.just(info.tag)} if info.tag_field else {}
    return st.fixed_dictionaries(tag | required, optional=optional)


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)
