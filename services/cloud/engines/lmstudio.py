"""LM Studio. https://lmstudio.ai/docs/developer/rest, of which /api/v1 came with 0.4 and /api/v0 is
what older ones have; what it takes of OpenAI's parameters: .../openai-compat/chat-completions.
"""

from typing import Any

from proto.config import ProviderKind
from proto.errors import Code, MeshError
from proto.format import JsonObject, JsonSchema
from proto.ids import ModelId
from proto.presence import ModelCard, ModelKind
from services.cloud.engines.kind import Look, unreadable
from services.cloud.engines.manners import OPENAI, Manners, any_object, json_schema
from services.cloud.engines.probe import LOAD_S, Probe

MANNERS = Manners(
    title="LM Studio",
    sampling={
        **OPENAI, "top_k": "top_k", "repetition_penalty": "repeat_penalty",
        "logit_bias": "logit_bias",
    },
    always=("temperature", "top_p", "top_k"),
    formats={JsonObject: any_object, JsonSchema: json_schema},
    chooses_tools=False,
    limits_calls=False,
    template_options=None,
)  # fmt: skip
NEWER, OLDER = "/api/v1/models", "/api/v0/models"
KINDS: dict[str, ModelKind] = {
    "vlm": "vlm", "embeddings": "embedder", "embedding": "embedder",
}  # fmt: skip


class LmStudio:
    """A Kind. It loads a model when it is asked for, unless its user forbade that."""

    word: ProviderKind = "lmstudio"
    title = "LM Studio"
    manners = MANNERS

    async def recognise(self, probe: Probe) -> str | None:
        if _lists(await probe.find(NEWER), "models"):
            return "0.4 or newer"
        return "" if _lists(await probe.find(OLDER), "data") else None

    async def look(self, probe: Probe) -> Look:
        newer = await probe.find(NEWER)
        try:
            if _lists(newer, "models"):
                cards = tuple(map(_card, newer["models"]))
            else:
                cards = tuple(map(_older_card, (await probe.find(OLDER))["data"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(self.title, error) from error
        return Look(cards=cards, manners=MANNERS)

    async def load(self, probe: Probe, model: ModelId) -> None:
        await probe.tell(f"{NEWER}/load", {"model": model}, LOAD_S)

    async def unload(self, probe: Probe, model: ModelId) -> None:
        """Every instance of it."""
        told = await probe.find(NEWER)
        if not _lists(told, "models"):
            raise MeshError(
                Code.UNSUPPORTED_PARAMETER,
                "This LM Studio is older than 0.4 and cannot be told to unload a model.",
                param="model",
            )
        for entry in told["models"]:
            for instance in entry["loaded_instances"] if entry["key"] == model else ():
                await probe.tell(f"{NEWER}/unload", {"instance_id": instance["id"]}, LOAD_S)


def _lists(told: Any, name: str) -> bool:
    """A list of models as nobody else writes it: by key, or with the state of each."""
    entries = told.get(name) if isinstance(told, dict) else None
    mark = {"models": "loaded_instances", "data": "state"}[name]
    return isinstance(entries, list) and all(isinstance(e, dict) and mark in e for e in entries)


def _card(entry: dict[str, Any]) -> ModelCard:
    can, instances = entry.get("capabilities") or {}, entry["loaded_instances"]
    contexts = [instance.get("config", {}).get("context_length") or 0 for instance in instances]
    return ModelCard(
        id=ModelId(entry["key"]),
        context_length=int(max(contexts, default=0) or entry.get("max_context_length") or 0),
        family=str(entry.get("architecture") or ""),
        quantization=str((entry.get("quantization") or {}).get("name") or ""),
        size_bytes=int(entry.get("size_bytes") or 0),
        kind="vlm" if can.get("vision") else KINDS.get(entry["type"], "llm"),
        calls_tools=bool(can.get("trained_for_tool_use")),
        keeps_formats=entry["type"] == "llm",
        sleeps=not instances,
    )


def _older_card(entry: dict[str, Any]) -> ModelCard:
    is_loaded = entry["state"] == "loaded"
    context = (entry.get("loaded_context_length") if is_loaded else 0) or entry.get(
        "max_context_length"
    )
    return ModelCard(
        id=ModelId(entry["id"]),
        context_length=int(context or 0),
        family=str(entry.get("arch") or ""),
        quantization=str(entry.get("quantization") or ""),
        kind=KINDS.get(entry.get("type", ""), "llm"),
        calls_tools="tool_use" in (entry.get("capabilities") or ()),
        keeps_formats=entry.get("type") != "embeddings",
        sleeps=not is_loaded,
    )
