"""What OpenAI's clients want an answer's content to look like. It is enforced, strict or not.

Also for the Responses API, whose ``text.format`` is the same with one level of nesting less.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from proto.dialects.asked import NonEmpty
from proto.format import Format, Grammar, JsonObject, JsonSchema, Regex

FormatName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]

NOT_YET = {
    "response_format.type": "there are text, json_object, json_schema, regex and grammar",
}


class TextFormat(Struct, forbid_unknown_fields=True, kw_only=True, tag="text"):
    """Anything."""


class JsonObjectFormat(Struct, forbid_unknown_fields=True, kw_only=True, tag="json_object"):
    """Any JSON object."""


class SchemaFormat(Struct, forbid_unknown_fields=True, kw_only=True):
    name: FormatName
    description: str | None = None
    schema: dict[str, Any] | None = None
    """Left out: any JSON object."""
    strict: bool | None = None
    """No difference to engines, which keep to the schema always; upstreams are told."""


class JsonSchemaFormat(Struct, forbid_unknown_fields=True, kw_only=True, tag="json_schema"):
    """JSON that satisfies a schema."""

    json_schema: SchemaFormat


class RegexFormat(Struct, forbid_unknown_fields=True, kw_only=True, tag="regex"):
    """Ours: text that a regular expression matches from end to end."""

    pattern: NonEmpty


class GrammarFormat(Struct, forbid_unknown_fields=True, kw_only=True, tag="grammar"):
    """Ours: text of a grammar in Lark's or llama.cpp's (GBNF) notation."""

    grammar: NonEmpty


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat | RegexFormat | GrammarFormat


def wanted(said: ResponseFormat | None) -> Format | None:
    match said:
        case JsonObjectFormat():
            return JsonObject()
        case JsonSchemaFormat(json_schema=named):
            return schema(named.name, named.schema, named.strict)
        case RegexFormat(pattern=pattern):
            return Regex(pattern=pattern)
        case GrammarFormat(grammar=grammar):
            return Grammar(source=grammar)
        case _:
            return None


def schema(name: str, schema: dict[str, Any] | None, strict: bool | None = None) -> Format:
    if schema is None:
        return JsonObject()
    return JsonSchema(schema=schema, name=name, strict=bool(strict))
