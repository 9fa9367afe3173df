"""What a tool's JSON schema says of its arguments, as far as a reader or a grammar must know."""

from typing import Any

from proto.prompt import Tool

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


def typed_function(tool: Tool) -> dict[str, Any]:
    """The same, each argument with one type: there are templates that need to see it."""
    described, parameters = function(tool), Parameters(tool)
    properties = {
        name: {**parameters.schema(name), "type": _first_type(parameters.types(name))}
        for name in parameters.schemas
    }
    described["function"]["parameters"]["properties"] = properties
    return described


def _first_type(types: frozenset[str]) -> str:
    return min(types - {"null"} or {"string"})


class Parameters:
    """A tool's arguments one by one, for families that write them so."""

    def __init__(self, tool: Tool) -> None:
        self._root = tool.parameters
        top = self._merged(self._resolved(tool.parameters), _DEPTH)
        properties = top.get("properties")
        self.schemas: Schema = properties if isinstance(properties, dict) else {}
        """By name, in their order. A value may be no dict at all: the schema is the client's."""
        required = top.get("required")
        self.required = {str(name) for name in required} if isinstance(required, list) else set()
        self.are_open = "properties" not in top and top.get("additionalProperties") is not False
        """Any others may be given too."""

    @property
    def names(self) -> list[str]:
        """In the order in which they are to be written."""
        return list(dict.fromkeys([*self.schemas, *sorted(self.required)]))

    def types(self, name: str) -> frozenset[str]:
        """The JSON types that the argument may have; empty when nothing is said of them."""
        return frozenset(self._types(self.schemas.get(name), _DEPTH))

    def schema(self, name: str) -> Schema:
        """The argument's own, complete in itself."""
        schema = self.schemas.get(name)
        if not isinstance(schema, dict):
            return {}
        if not _refers(schema):
            return schema
        return {**_moved(schema), "$defs": {_ROOT: _moved(self._root)}}

    def alternatives(self, schema: Any, depth: int = _DEPTH) -> list[Schema]:
        """What the schema allows, one type each: without references, unions and lists of types.

        A schema that says nothing of its type is left as it is.
        """
        if not depth or not isinstance(schema, dict):
            return [{}]
        schema = self._merged(self._resolved(schema), depth)
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list):
                rest = {name: value for name, value in schema.items() if name != key}
                parts = [self.alternatives(part, depth - 1) for part in schema[key]]
                return [_joined(rest, part) for each in parts for part in each]
        if isinstance(schema.get("type"), list):
            return [{**schema, "type": said} for said in schema["type"]]
        if "type" not in schema and ("const" in schema or isinstance(schema.get("enum"), list)):
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return [{"type": type_of(value), "const": value} for value in values]
        return [schema]

    def _merged(self, schema: Schema, depth: int) -> Schema:
        if not isinstance(schema.get("allOf"), list):
            return schema
        merged = {name: value for name, value in schema.items() if name != "allOf"}
        for part in schema["allOf"]:
            if isinstance(part, dict) and depth:
                merged = _joined(merged, self._merged(self._resolved(part), depth - 1))
        return merged

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


def _joined(left: Schema, right: Schema) -> Schema:
    joined = {**left, **right}
    for key in ("properties", "$defs"):
        if isinstance(left.get(key), dict) and isinstance(right.get(key), dict):
            joined[key] = {**left[key], **right[key]}
    if isinstance(left.get("required"), list) and isinstance(right.get("required"), list):
        joined["required"] = [*left["required"], *right["required"]]
    return joined


def _refers(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_refers, schema))
    return isinstance(schema, dict) and ("$ref" in schema or any(map(_refers, schema.values())))


def _moved(schema: Any) -> Any:
    """The same with its references to the root, which has moved to ``$defs``."""
    if isinstance(schema, list):
        return [_moved(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"#/$defs/{_ROOT}{value[1:]}"
        if key == "$ref" and isinstance(value, str) and value.startswith("#")
        else _moved(value)
        for key, value in schema.items()
    }


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
