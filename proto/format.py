"""What an answer must look like, by whatever notation the client described it."""

from typing import Any

from msgspec import Struct


class JsonObject(Struct, frozen=True, kw_only=True, tag="json_object"):
    """Any JSON object."""


class JsonSchema(Struct, frozen=True, kw_only=True, tag="json_schema"):
    """JSON that satisfies a schema."""

    schema: dict[str, Any]
    name: str = ""
    strict: bool = False
    """The client insists on it. Engines do always; upstreams know two degrees."""


class Regex(Struct, frozen=True, kw_only=True, tag="regex"):
    """Text that a regular expression matches from end to end."""

    pattern: str


class Grammar(Struct, frozen=True, kw_only=True, tag="grammar"):
    """Text of a context-free grammar, written in Lark's or llama.cpp's (GBNF) notation."""

    source: str


Format = JsonObject | JsonSchema | Regex | Grammar
"""What an answer's content must look like; the engine lets nothing else be generated."""
