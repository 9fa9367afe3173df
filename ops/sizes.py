"""`make sizes`: the ten longest files and functions. It shows where to look and never fails."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

_PACKAGES = ("proto", "bus", "services", "ops")


def _sources() -> list[Path]:
    return [path for package in _PACKAGES for path in sorted(Path(package).rglob("*.py"))]


def _functions(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.name}"


def _show(title: str, sizes: Iterable[tuple[int, str]]) -> None:
    found = list(sizes)
    print(f"{title}: {len(found)}, {sum(lines for lines, _ in found)} lines")
    for lines, name in sorted(found, reverse=True)[:10]:
        print(f"{lines:6} {name}")


if __name__ == "__main__":
    _show("files", ((path.read_text().count("\n"), str(path)) for path in _sources()))
    _show("functions", (found for path in _sources() for found in _functions(path)))
