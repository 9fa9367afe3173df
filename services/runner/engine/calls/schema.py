"""What a tool's JSON schema says of its arguments, as far as a reader or a grammar must know."""

from typing import Any

from proto.inference import Tool

Schema = dict[str, Any]
_ROOT = "odyssai-root"
_COMBINED = ("anyOf", "oneOf", "allOf")
_DEPTH = 16
"""References that lead nowhere are not followed for ever."""


def object_schema(tool: Tool) -> Schema:
    """The schema of the arguments object. What it does not name may not be given, unless it says
    that it may.
    """
    schema = {"type": "object", **tool.parameters}
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def function(tool: Tool) -> dict[str, Any]:
    """The tool as OpenAI writes it, which is what templates and parsers expect."""
    parameters = {"type": "object", "properties": {}, **tool.parameters}
    described = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": described}


class Parameters:
    """A tool's arguments one by one, for families that write them so."""

    def __init__(self, tool: Tool) -> None:
        self._root = tool.parameters
        top = self._resolved(tool.parameters)
        properties = top.get("properties")
        self.schemas: Schema = properties if isinstance(properties, dict) else {}
        """By name, in their order. A value may be no dict at all: the schema is the client's."""
        required = top.get("required")
        self.required = {str(name) for name in required} if isinstance(required, list) else set()
        self.are_open = "properties" not in top and top.get("additionalProperties") is not False
        """Any others may be given too."""

    def types(self, name: str) -> frozenset[str]:
        """The JSON types that the argument may have; empty when nothing is said of them."""
        return frozenset(self._types(self.schemas.get(name), _DEPTH))

    def schema(self, name: str) -> Schema:
        """The argument's own, complete in itself."""
        schema = self.schemas.get(name)
        if not isinstance(schema, dict):
            return {}
        return schema

    def _types(self, schema: Any, depth: int) -> set[str]:
        if not depth or not isinstance(schema, dict):
            return set()
        schema = self._resolved(schema)
        said = schema.get("type")
        if isinstance(said, str):
            return {said}
        if isinstance(said, list):
            return set(map(str, said))
        if "const" in schema:
            return {type_of(schema["const"])}
        if isinstance(schema.get("enum"), list):
            return set(map(type_of, schema["enum"]))
        return self._types_of_parts(schema, depth)

    def _types_of_parts(self, schema: Schema, depth: int) -> set[str]:
        for key in _COMBINED:
            parts = schema.get(key)
            if isinstance(parts, list) and parts:
                each = [self._types(part, depth - 1) for part in parts]
                if key == "allOf":
                    return set.intersection(*filter(None, each)) if any(each) else set()
                return set().union(*each) if all(each) else set()
        return set()

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(_DEPTH):
            reference = schema.get("$ref")
            if not isinstance(reference, str):
                break
            target = self._at(reference)
            if target is None:
                break
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        return schema

    def _at(self, reference: str) -> Schema | None:
        place: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            if not isinstance(place, dict):
                return None
            place = place.get(step.replace("~1", "/").replace("~0", "~"))
        return place if isinstance(place, dict) else None


def type_of(value: Any) -> str:
    """The JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
