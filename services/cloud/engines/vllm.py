"""vLLM. https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, and for formats
.../features/structured_outputs: guided_* is gone since 0.12, structured_outputs takes its place.
"""

from typing import Any

from msgspec.structs import replace

from proto.config import ProviderKind
from proto.format import Grammar, JsonObject, JsonSchema, Regex
from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.engines.kind import Look, loads_by_itself, unreadable
from services.cloud.engines.manners import (
    OPENAI,
    FormatTeller,
    Manners,
    Said,
    by_template,
    json_object,
    json_schema,
    plain,
)
from services.cloud.engines.probe import Probe


def _regex(wanted: Regex) -> Said:
    return {"structured_outputs": {"regex": wanted.pattern}}


def _grammar(wanted: Grammar) -> Said:
    return {"structured_outputs": {"grammar": wanted.source}}


def _guided_regex(wanted: Regex) -> Said:
    return {"guided_regex": wanted.pattern}


def _guided_grammar(wanted: Grammar) -> Said:
    return {"guided_grammar": wanted.source}


JSON: dict[type, FormatTeller] = {JsonObject: json_object, JsonSchema: json_schema}
MANNERS = Manners(
    title="vLLM",
    sampling=OPENAI | plain("min_p", "top_k", "repetition_penalty", "logit_bias"),
    always=("temperature", "top_p", "min_p", "top_k", "repetition_penalty"),
    formats={**JSON, Regex: _regex, Grammar: _grammar},
    top_logprobs=20,
    limits_calls=False,
    thinking=by_template,
    reads_tokens=True,
)
OLDER = replace(MANNERS, formats={**JSON, Regex: _guided_regex, Grammar: _guided_grammar})
NEWER_SINCE = (0, 12)


class Vllm:
    """A Kind. It serves what it was started with."""

    word: ProviderKind = "vllm"
    title = "vLLM"
    manners = MANNERS

    async def recognise(self, probe: Probe) -> str | None:
        told, listed = await probe.find("/version"), await probe.find("/v1/models")
        try:
            is_it = any(entry.get("owned_by") == "vllm" for entry in listed["data"])
            version = str((told or {}).get("version", ""))
        except (KeyError, TypeError, AttributeError):
            return None
        return version if is_it else None

    async def look(self, probe: Probe) -> Look:
        told, listed = await probe.find("/version"), await probe.find("/v1/models")
        try:
            cards = tuple(map(_card, listed["data"]))
            version = str((told or {}).get("version", ""))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(self.title, error) from error
        return Look(cards=cards, manners=OLDER if _is_older(version) else MANNERS)

    async def load(self, probe: Probe, model: ModelId) -> None:
        raise loads_by_itself(self.title)

    async def unload(self, probe: Probe, model: ModelId) -> None:
        raise loads_by_itself(self.title)


def _card(entry: dict[str, Any]) -> ModelCard:
    return ModelCard(
        id=ModelId(entry["id"]),
        context_length=int(entry.get("max_model_len") or 0),
        created_s=int(entry.get("created") or 0),
        keeps_formats=True,
    )


def _is_older(version: str) -> bool:
    """One that cannot be read is of a build from source, and so rather new."""
    parts = version.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return False
    return (int(parts[0]), int(parts[1])) < NEWER_SINCE
