"""What a client adds to an address behind the question mark."""

from proto.dialects.asked import invalid

Query = dict[str, list[str]]
"""By name, in the order they were sent."""


def single(query: Query, name: str) -> str | None:
    """The last value of a name, or None where it is missing or empty."""
    return query.get(name, [""])[-1] or None


def flag(query: Query, name: str) -> bool:
    """False where it is missing. Raises MeshError."""
    value = (single(query, name) or "false").lower()
    if value not in ("true", "1", "false", "0"):
        raise invalid(f"`{name}` is {value!r}; say true or false.", name)
    return value in ("true", "1")


def number(query: Query, name: str, default: int, *, least: int, most: int) -> int:
    """Raises MeshError when it is no whole number, or beyond its limits."""
    value = single(query, name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and least <= int(value[:9]) <= most):
        raise invalid(f"`{name}` is {value!r}; give a whole number from {least} to {most}.", name)
    return int(value)
