"""What the error events of an upstream that speaks Anthropic's protocol mean."""

from typing import Any

from proto.errors import Code, MeshError


def failed(name: str, error: Any) -> MeshError:
    """``name``: of the upstream."""
    told = error.get("message", error) if isinstance(error, dict) else error
    return MeshError(Code.UPSTREAM, f"The upstream {name!r} failed: {told}")
