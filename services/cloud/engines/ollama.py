"""Ollama. https://github.com/ollama/ollama/blob/main/docs/api.md, and for what it takes of OpenAI's
parameters docs/api/openai-compatibility.mdx there.
"""

from typing import Any

from proto.config import ProviderKind
from proto.format import JsonObject, JsonSchema
from proto.ids import ModelId
from proto.presence import ModelCard, ModelKind
from services.cloud.engines.kind import Look, unreadable
from services.cloud.engines.manners import OPENAI, Manners, json_object, json_schema
from services.cloud.engines.probe import LOAD_S, Probe

MANNERS = Manners(
    title="Ollama",
    sampling=OPENAI,
    formats={JsonObject: json_object, JsonSchema: json_schema},
    chooses_tools=False,
    limits_calls=False,
    template_options=None,
)


class Ollama:
    """A Kind. It loads a model when it is asked for, and says in /api/ps which are loaded."""

    word: ProviderKind = "ollama"
    title = "Ollama"
    manners = MANNERS

    def __init__(self) -> None:
        self._shown: dict[str, dict[str, Any]] = {}
        """What /api/show says of each model, by the digest of its files."""

    async def recognise(self, probe: Probe) -> str | None:
        told = await probe.find("/api/version")
        is_it = isinstance(told, dict) and isinstance(told.get("version"), str)
        return str(told["version"]) if is_it and await probe.find("/api/tags") is not None else None

    async def look(self, probe: Probe) -> Look:
        stored, running = await probe.find("/api/tags"), await probe.find("/api/ps")
        try:
            loaded = {entry["name"]: entry for entry in (running or {"models": []})["models"]}
            entries = {str(entry["digest"]): entry for entry in stored["models"]}
            for digest in entries.keys() - self._shown.keys():
                asked = {"model": entries[digest]["name"]}
                self._shown[digest] = await probe.tell("/api/show", asked)
            self._shown = {digest: self._shown[digest] for digest in entries}
            cards = tuple(
                _card(entry, self._shown[str(entry["digest"])], loaded.get(entry["name"]))
                for entry in stored["models"]
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(self.title, error) from error
        return Look(cards=cards, manners=MANNERS)

    async def load(self, probe: Probe, model: ModelId) -> None:
        await probe.tell("/api/generate", {"model": model, "stream": False}, LOAD_S)

    async def unload(self, probe: Probe, model: ModelId) -> None:
        asked = {"model": model, "keep_alive": 0, "stream": False}
        await probe.tell("/api/generate", asked, LOAD_S)


def _card(
    entry: dict[str, Any], shown: dict[str, Any], running: dict[str, Any] | None
) -> ModelCard:
    details, can = entry.get("details") or {}, shown.get("capabilities") or ()
    return ModelCard(
        id=ModelId(entry["name"]),
        context_length=int((running or {}).get("context_length") or _context(shown)),
        family=str(details.get("family") or ""),
        quantization=str(details.get("quantization_level") or ""),
        size_bytes=int(entry.get("size") or 0),
        kind=_kind(can),
        calls_tools="tools" in can,
        reasons="thinking" in can,
        keeps_formats="embedding" not in can,
        sleeps=running is None,
    )


def _kind(can: Any) -> ModelKind:
    if "embedding" in can:
        return "embedder"
    return "vlm" if "vision" in can else "llm"


def _context(shown: dict[str, Any]) -> int:
    """What the model was made for; what it is loaded with is told once it is."""
    info = shown.get("model_info") or {}
    family = info.get("general.architecture", "")
    return int(info.get(f"{family}.context_length") or 0)
