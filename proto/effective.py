"""What is in effect: layers of configuration merged, names resolved, a model's defaults."""

import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from hmac import compare_digest
from typing import Any, TypeVar

from msgspec import UNSET
from msgspec.structs import fields, replace

from proto.config import (
    Config,
    KeyConfig,
    LoadingConfig,
    ModelConfig,
    PrivacyConfig,
    Setting,
)
from proto.generation import Privacy
from proto.ids import ModelId
from proto.price import PriceConfig

S = TypeVar("S", bound=Setting)
V = TypeVar("V")

MOST_HOPS = 8
"""An alias may stand for another; a circle of them ends here."""
ON_DEMAND = True
MIN_RESIDENCE_S = 30.0


def effective(lower: Config, upper: Config) -> Config:
    """One layer over another: the upper one's word counts, its null takes the lower one's back."""
    return _without_nulls(merged(lower, upper))


def merged(lower: S, upper: S) -> S:
    """The same, but that nulls stay, to take back what lies below both."""
    told = {field.name: getattr(upper, field.name) for field in fields(upper)}
    changes = {
        name: _merged(getattr(lower, name), value)
        for name, value in told.items()
        if value is not UNSET
    }
    return replace(lower, **changes)


def _merged(lower: Any, upper: Any) -> Any:
    if isinstance(upper, dict) and isinstance(lower, dict):
        return lower | {name: _merged(lower.get(name), value) for name, value in upper.items()}
    if isinstance(upper, Setting) and isinstance(lower, type(upper)):
        return merged(lower, upper)
    return upper


def _without_nulls(setting: S) -> S:
    kept = {field.name: _clean(getattr(setting, field.name)) for field in fields(setting)}
    return replace(setting, **kept)


def _clean(value: Any) -> Any:
    if value is None:
        return UNSET
    if isinstance(value, dict):
        return {name: _clean(entry) for name, entry in value.items() if entry is not None}
    return _without_nulls(value) if isinstance(value, Setting) else value


def target(config: Config, name: str) -> ModelId:
    """What a client's name for a model stands for; the name itself where it is no alias.

    Stars of an alias stand in what it leads to for what they stood for in the name, each alias
    once: ``"*": "or:*"`` leads nowhere else.
    """
    left = dict(config.aliases or {})
    for _ in range(MOST_HOPS):
        alias = _best(left, name)
        found = left.pop(alias) if alias is not None else None
        if alias is None or found is None or found == name:
            break
        name = _filled(found, alias, name)
    return ModelId(name)


def _best(named: Iterable[str], name: str) -> str | None:
    """The name itself where it is among them, else the longest pattern which matches it."""
    matching = sorted(_matching(named, name), key=len)
    return name if name in named else matching[-1] if matching else None


def _filled(wanted: str, pattern: str, name: str) -> str:
    if "*" not in wanted:
        return wanted
    found = re.fullmatch("(.*)".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)
    stood_for = iter(found.groups() if found else ())
    return re.sub(r"\*", lambda star: next(stood_for, star[0]), wanted)


def _matching(named: Iterable[str], name: str) -> list[str]:
    return [pattern for pattern in named if "*" in pattern and matches(pattern, name)]


def fallbacks(config: Config, names: Iterable[str]) -> tuple[ModelId, ...]:
    """Models to ask when one that goes by ``names`` cannot take a request, in their order.

    The entry of a name counts before that of a pattern, and the first of the names before others.
    A star of a chain stands for what the pattern's star does.
    """
    chains = {name: chain for name, chain in (config.fallbacks or {}).items() if chain}
    own = list(dict.fromkeys(names))
    ways = [(name, pattern) for name in own if (pattern := _best(chains, name)) is not None]
    for name, pattern in sorted(ways, key=lambda way: way[0] != way[1]):
        wanted = (target(config, _filled(other, pattern, name)) for other in chains[pattern])
        return tuple(model for model in dict.fromkeys(wanted) if model not in own)
    return ()


def matches(pattern: str, name: str) -> bool:
    return fnmatchcase(name, _glob(pattern))


def _glob(pattern: str) -> str:
    """Only ``*`` means something: brackets and question marks stand for themselves."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def model_config(config: Config, names: Collection[str]) -> ModelConfig:
    """The defaults of a model that goes by all of ``names``, the most exact entry first.

    An entry of one of its names comes before every pattern, a longer pattern
    before a shorter one, and each says what the ones before it left open.
    """
    entries = {name: entry for name, entry in (config.models or {}).items() if entry}
    own = [name for name in dict.fromkeys(names) if name in entries]
    patterns = {pattern for name in names for pattern in _matching(entries, name)}
    exactest_last = [*sorted(patterns, key=lambda p: (len(p), p)), *reversed(own)]
    known = ModelConfig()
    for name in exactest_last:
        known = merged(known, entries[name])
    return known


def price_of(config: Config, provider: str, id: str) -> PriceConfig | None:
    """What an operator says that a provider's model costs, by the provider's own id of it."""
    entry = (config.providers or {}).get(provider)
    prices: dict[str, PriceConfig | None] = value(entry.prices, {}) if entry else {}
    found = _best(prices, id)
    return prices[found] if found else None


def loads_on_demand(config: Config, model: ModelConfig) -> bool:
    return value(model.on_demand, value(_loading(config).on_demand, ON_DEMAND))


def min_residence_s(config: Config) -> float:
    return value(_loading(config).min_residence_s, MIN_RESIDENCE_S)


def idle_ttl_s(config: Config, model: ModelConfig) -> float | None:
    """None: it may stay unused for ever."""
    own = value(model.idle_ttl_s, None)
    return value(_loading(config).idle_ttl_s, None) if own is None else own


def _loading(config: Config) -> LoadingConfig:
    return config.loading or LoadingConfig()


def key_config(config: Config, sha256: str | None) -> tuple[str | None, KeyConfig]:
    """The name and the configuration of a key by its hash; of everybody else's where it is none.

    All are compared, so that the time it takes tells nothing of which it was.
    """
    found: tuple[str | None, KeyConfig] = (None, config.others or KeyConfig())
    for name, entry in (config.keys or {}).items():
        if entry and sha256 and compare_digest(str(entry.sha256), sha256):
            found = (name, entry)
    return found


def privacy_of(config: Config, owner: str) -> Privacy:
    """For the requests of one owner. Where no key is known, all who ask are one."""
    chosen = value((config.privacy or PrivacyConfig()).prefixes, None)
    if chosen == "all" or (chosen is None and not config.keys):
        return Privacy()
    return Privacy(owner=owner, shares_system=chosen != "owner")


def captures(config: Config) -> bool:
    """An operator wants prompts and answers told on telemetry."""
    return value((config.privacy or PrivacyConfig()).capture, False)


def value(setting: Any, default: V) -> V:
    """A setting's value, or the default where nothing or null was said."""
    return default if setting is UNSET or setting is None else setting
