"""docs/dialects.md, read: one row for each field of each surface, and how to try it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"
OPEN = frozenset(
    {"choices[].logprobs.top_logprobs[]", "content[].input", "tools[].parameters", "metadata"}
)
"""Fields whose inner names are the client's or the model's."""
_HEADING = re.compile(r"^## (?P<surface>.+?): (?P<side>request|answer)$")


class Row(NamedTuple):
    surface: str
    """As its heading says, such as ``POST /v1/messages``."""
    field: str
    verdict: str
    tried: Any
    """Request rows: what to merge into a request. None where the table has nothing to try."""
    note: str

    def __str__(self) -> str:
        return f"{self.surface.rpartition('/')[2]}-{self.field}-{json.dumps(self.tried)[:40]}"


def rows(side: str) -> list[Row]:
    """The rows of all tables of one side, ``request`` or ``answer``."""
    return list(_rows(side))


def _rows(side: str) -> Iterator[Row]:
    surface: str | None = None
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            heading = _HEADING.match(line)
            surface = heading["surface"] if heading and heading["side"] == side else None
        elif surface and line.startswith("| `"):
            field, verdict, *rest = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            tried = rest[0].replace(r"\|", "|").strip("`") if len(rest) > 1 else ""
            yield Row(
                surface, field.strip("`"), verdict, json.loads(tried) if tried else None, rest[-1]
            )


def paths(value: Any, before: str = "") -> set[str]:
    """Every field that a JSON value has, as ``choices[].message.content``."""
    if isinstance(value, list):
        return set().union(*(paths(item, f"{before}[]") for item in value))
    if not isinstance(value, dict) or before in OPEN:
        return set()
    found = set()
    for name, inner in value.items():
        path = f"{before}.{name}" if before else name
        found |= {path} | paths(inner, path)
    return found
