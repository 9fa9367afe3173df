"""From what is declared to the upstreams that a cloud service stands for."""

from collections.abc import Mapping

from proto.config import Config, ConfigLayer, Layer, ProviderConfig, ProviderKind
from proto.effective import effective, value
from proto.price import PriceConfig
from services.cloud.calling.patience import USUAL, Patience
from services.cloud.providers.kept import Kept
from services.cloud.settings import REQUESTS, URLS, Upstream

LAYERS: tuple[Layer, ...] = ("file", "admin")


def configured(
    declared: Mapping[str, ProviderConfig], layers: Mapping[Layer, ConfigLayer]
) -> dict[str, ProviderConfig]:
    """What the environment declares is the lowest layer: the configuration changes it, and its null
    takes it away.
    """
    config = Config(providers=dict(declared))
    for name in LAYERS:
        if name in layers:
            config = effective(config, Config(providers=layers[name].config.providers))
    return {name: entry for name, entry in (config.providers or {}).items() if entry is not None}


def upstreams(
    providers: Mapping[str, ProviderConfig],
    kept: Mapping[str, Kept],
    environment: Mapping[str, str],
) -> dict[str, Upstream]:
    """By name. One without an address is none."""
    found = {
        name: _upstream(name, entry, kept.get(name, Kept()), environment)
        for name, entry in providers.items()
    }
    return {name: upstream for name, upstream in found.items() if upstream.url}


def _upstream(
    name: str, entry: ProviderConfig, kept: Kept, environment: Mapping[str, str]
) -> Upstream:
    kind: ProviderKind = value(entry.kind, "openai-compatible")
    variables: list[str] = value(entry.keys_from, [])
    told = [environment.get(variable, "") for variable in variables]
    models = value(entry.models, None)
    prices: dict[str, PriceConfig | None] = value(entry.prices, {})
    return Upstream(
        name=name,
        url=value(entry.url, URLS.get(kind, "")).rstrip("/"),
        kind=kind,
        keys=tuple(dict.fromkeys((*kept.keys, *filter(None, told)))),
        models=None if models is None else tuple(models),
        hides=tuple(value(entry.hides, ())),
        requests=value(entry.requests, REQUESTS),
        patience=_patience(entry),
        prices={pattern: price.plain() for pattern, price in prices.items() if price is not None},
        locked=kept.locked,
    )


def _patience(entry: ProviderConfig) -> Patience:
    return Patience(
        connect_s=value(entry.connect_s, USUAL.connect_s),
        first_byte_s=value(entry.first_byte_s, USUAL.first_byte_s),
        idle_s=value(entry.idle_s, USUAL.idle_s),
    )
