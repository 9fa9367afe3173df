"""A provider as people see it."""

import os
from collections.abc import Iterable, Mapping

from proto.config import ProviderConfig
from proto.effective import value
from proto.presence import EngineBeat
from proto.provider import ProviderKeyView, ProviderView, hint_of


def seen(
    name: str,
    settings: ProviderConfig,
    beat: EngineBeat | None,
    kept: Iterable[ProviderKeyView],
    environment: Mapping[str, str] = os.environ,
) -> ProviderView:
    """``beat``: of its engine; None where there is none, since it has no address."""
    variables: list[str] = value(settings.keys_from, [])
    told = [
        ProviderKeyView(name=variable, hint=hint_of(environment[variable]), origin="environment")
        for variable in variables
        if environment.get(variable)
    ]
    keys = (*kept, *told)
    if beat is None:
        trouble = f"it has no address: `odyssai config set providers/{name}/url URL` gives it one"
        return ProviderView(
            name=name, settings=settings, state="not served", trouble=trouble, keys=keys
        )
    return ProviderView(
        name=name,
        settings=settings,
        url=beat.upstream or "",
        state=beat.state if beat.circuit == "closed" else "left alone",
        trouble=beat.trouble,
        models=len(beat.models),
        running=beat.running,
        keys=keys,
    )
