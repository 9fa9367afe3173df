"""What mlx-lm's class for a model can do, read from its source: importing it would load mlx.

A class splits its layers between ranks by a method ``shard``; its inner model gives whole layers to
ranks by ``pipeline``.
"""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

REMAPPING = "MODEL_REMAPPING"
DEEPEST = 8
"""Classes that inherit from one another, and names that stand for others."""


class Abilities(NamedTuple):
    is_divisible: bool
    is_stageable: bool


NONE = Abilities(is_divisible=False, is_stageable=False)


class _Class(NamedTuple):
    module: str
    node: ast.ClassDef


@cache
def abilities(family: str) -> Abilities:
    """Of a ``model_type``, by the mlx-lm that is installed here; none of one it does not know."""
    module = _families().get(family, family).replace("-", "_")
    model = _class(module, "Model")
    if model is None:
        return NONE
    inner = _attribute(model, "model")
    return Abilities(
        is_divisible=any(_methods(model, "shard")),
        is_stageable=inner is not None and any(_methods(inner, "pipeline")),
    )


@cache
def _root() -> Path | None:
    """Where mlx-lm is, without running any of it."""
    spec = importlib.util.find_spec("mlx_lm")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


@cache
def _tree(module: str) -> ast.Module | None:
    """``module``: below mlx_lm, with dots."""
    root = _root()
    if root is None or not all(part.isidentifier() for part in module.split(".")):
        return None
    try:
        return ast.parse(root.joinpath(*module.split(".")).with_suffix(".py").read_text())
    except (OSError, SyntaxError, ValueError):
        return None


@cache
def _families() -> dict[str, str]:
    """Model types that are served by another one's class."""
    tree = _tree("utils")
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign) and any(_named(t, REMAPPING) for t in node.targets):
            return {str(k): str(v) for k, v in ast.literal_eval(node.value).items()}
    return {}


def _class(module: str, name: str, deep: int = 0) -> _Class | None:
    """Of mlx_lm.models, wherever the module has it from."""
    tree = _tree(f"models.{module}")
    if tree is None or deep > DEEPEST:
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _Class(module, node)
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _class(node.module, alias.name, deep + 1)
        if isinstance(node, ast.Assign) and any(_named(t, name) for t in node.targets):
            return _class_named(module, node.value, deep)
    return None


def _class_named(module: str, expression: ast.expr, deep: int = 0) -> _Class | None:
    """By a name, or by a name of a module that was imported: ``qwen3.Qwen3Model``."""
    if isinstance(expression, ast.Name):
        return _class(module, expression.id, deep + 1)
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        return _class(expression.value.id, expression.attr, deep + 1)
    return None


def _line(found: _Class, deep: int = 0) -> Iterator[_Class]:
    """The class and those it inherits from, nearest first."""
    yield found
    for base in found.node.bases if deep < DEEPEST else ():
        above = _class_named(found.module, base)
        if above is not None:
            yield from _line(above, deep + 1)


def _methods(found: _Class, name: str) -> Iterator[tuple[_Class, ast.FunctionDef]]:
    for one in _line(found):
        for node in one.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                yield one, node


def _attribute(found: _Class, name: str, deep: int = 0) -> _Class | None:
    """The class of what an object has under a name: what its beginning puts there, or a property
    that leads to it.
    """
    if deep > DEEPEST:
        return None
    for _, leads in _methods(found, name):
        returned = [n.value for n in ast.walk(leads) if isinstance(n, ast.Return) and n.value]
        return _followed(found, returned[0], deep + 1) if returned else None
    for one, begins in _methods(found, "__init__"):
        for node in ast.walk(begins):
            made = _made(node, name)
            if made is not None:
                return _class_named(one.module, made.func)
    return None


def _made(node: ast.AST, name: str) -> ast.Call | None:
    """What is called for ``self.name = …``."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return None
    return node.value if any(_is_own(target, name) for target in node.targets) else None


def _followed(found: _Class, path: ast.expr, deep: int) -> _Class | None:
    """Along ``self.language_model.model``."""
    if isinstance(path, ast.Name):
        return found if path.id == "self" else None
    if not isinstance(path, ast.Attribute):
        return None
    above = _followed(found, path.value, deep)
    return _attribute(above, path.attr, deep) if above else None


def _named(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name


def _is_own(target: ast.expr, name: str) -> bool:
    return (
        isinstance(target, ast.Attribute) and target.attr == name and _named(target.value, "self")
    )
