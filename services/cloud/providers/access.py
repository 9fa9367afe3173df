"""Which of an upstream's models may be used."""

from collections.abc import Iterable

from proto.effective import matches
from services.cloud.naming import ours
from services.cloud.settings import Upstream


def is_listed(upstream: Upstream, id: str) -> bool:
    """Whether a model of its catalog is published."""
    allows = upstream.models is None or _matches_any(upstream.models, id)
    return allows and not is_hidden(upstream, id)


def is_open(upstream: Upstream, id: str, catalog: Iterable[str]) -> bool:
    """Whether a model may be asked for: catalogs lag behind, so a pattern is enough."""
    if is_hidden(upstream, id):
        return False
    return id in catalog if upstream.models is None else _matches_any(upstream.models, id)


def is_hidden(upstream: Upstream, id: str) -> bool:
    return _matches_any(upstream.hides, id)


def accepts(upstream: Upstream) -> tuple[str, ...]:
    """Patterns of the names of what it takes, whatever its catalog says."""
    return tuple(ours(upstream.name, pattern) for pattern in upstream.models or ())


def refuses(upstream: Upstream) -> tuple[str, ...]:
    return tuple(ours(upstream.name, pattern) for pattern in upstream.hides)


def _matches_any(patterns: Iterable[str], id: str) -> bool:
    return any(matches(pattern, id) for pattern in patterns)
