"""Entries of a model list as OpenAI's and OpenRouter's ``GET /models`` have them, as cards.

https://platform.openai.com/docs/api-reference/models and
https://openrouter.ai/docs/api-reference/list-available-models
"""

import math
from typing import Any

from proto.ids import ModelId
from proto.presence import ModelCard
from proto.price import Price

UNKNOWN = 0
MILLION = 1_000_000


def card(entry: dict[str, Any]) -> ModelCard:
    """Raises KeyError, TypeError or AttributeError on what is no entry."""
    known = entry.get("supported_parameters")
    can = known if isinstance(known, list) else ()
    reads = _list(_below(entry, "architecture"), "input_modalities")
    return ModelCard(
        id=ModelId(str(entry["id"])),
        context_length=_count(entry.get("context_length")),
        max_output_tokens=_count(_below(entry, "top_provider").get("max_completion_tokens")),
        created_s=_count(entry.get("created")),
        kind="vlm" if "image" in reads else "llm",
        reads_documents="file" in reads,
        calls_tools="tools" in can,
        reasons="reasoning" in can,
        keeps_formats="structured_outputs" in can,
        price=_price(_below(entry, "pricing")),
    )


def _price(pricing: dict[str, Any]) -> Price | None:
    """OpenRouter's, in dollars a token, as text; -1 stands for a price that depends."""
    known = {
        "prompt": _dollars(pricing.get("prompt")),
        "completion": _dollars(pricing.get("completion")),
        "cached": _dollars(pricing.get("input_cache_read")),
        "cache_write": _dollars(pricing.get("input_cache_write")),
    }
    if known["prompt"] is None and known["completion"] is None:
        return None
    return Price(**known)


def _dollars(said: Any) -> float | None:
    """For a million tokens."""
    try:
        told = float(said)
    except (TypeError, ValueError):
        return None
    # Rounded, so that 0.0000003 a token is 0.3 and not 0.30000000000000004.
    return round(told * MILLION, 9) if math.isfinite(told) and told >= 0 else None


def _count(said: Any) -> int:
    return said if isinstance(said, int) and said > 0 else UNKNOWN


def _list(entry: dict[str, Any], name: str) -> list[Any]:
    found = entry.get(name)
    return found if isinstance(found, list) else []


def _below(entry: dict[str, Any], name: str) -> dict[str, Any]:
    found = entry.get(name)
    return found if isinstance(found, dict) else {}
