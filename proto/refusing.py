"""Which models a provider takes that it does not list, and why it does not take another."""

from collections.abc import Iterable

from proto.effective import matches
from proto.errors import Code, MeshError
from proto.presence import EngineBeat

MOST_NAMES = 40
"""Of models in one sentence: a provider alone may have hundreds."""


def listing(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else ""
    return ", ".join(known[:MOST_NAMES]) + more or "none yet"


def takes(beat: EngineBeat, model: str) -> bool:
    """Whether it takes a model that its cards do not have."""
    return _matches_any(beat.accepts, model) and not _matches_any(beat.refuses, model)


def not_served(beat: EngineBeat, model: str) -> MeshError:
    """Of a provider's engine that does not hold the model, and does not take it either."""
    name, id = beat.provider, model.partition(":")[2]
    if _matches_any(beat.refuses, model):
        why = f"The operator hides {id!r} of the provider {name!r} (`providers.{name}.hides`)."
    elif beat.accepts:
        why = (
            f"The operator allows some models of the provider {name!r}, and {id!r} is not among "
            f"them (`providers.{name}.models`)."
        )
    elif beat.models:
        why = (
            f"The provider {name!r} does not list a model {id!r}. If it has one all the same, the "
            f"operator lets it through with a pattern in `providers.{name}.models`."
        )
    else:
        # What is about to come is waited for; what failed is told.
        return MeshError(
            Code.UPSTREAM if beat.trouble else Code.NO_ENGINE,
            f"The provider {name!r} serves nothing now: "
            f"{(beat.trouble or 'its models are not known yet').rstrip('.')}. Try again.",
            retry_after_s=1.0,
        )
    return MeshError(
        Code.MODEL_NOT_FOUND, f"{why} GET /v1/models lists what is served.", param="model"
    )


def _matches_any(patterns: tuple[str, ...], name: str) -> bool:
    return any(matches(pattern, name) for pattern in patterns)
