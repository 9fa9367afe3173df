"""The server of llama-cpp-python. https://llama-cpp-python.readthedocs.io/en/latest/server/, whose
schema it serves itself at /openapi.json.

One request at a time: by its own default a second one ends the first in the middle of its answer,
also one for its models. So those are asked for once in its life.
"""

from typing import Any

from proto.config import ProviderKind
from proto.format import JsonObject, JsonSchema
from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.engines.kind import Look, loads_by_itself, unreadable
from services.cloud.engines.manners import OPENAI, Manners, Said, json_object, plain
from services.cloud.engines.probe import Probe


def _schema(wanted: JsonSchema) -> Said:
    return {"response_format": {"type": "json_object", "schema": wanted.schema}}


MANNERS = Manners(
    title="llama-cpp-python",
    sampling={
        **OPENAI, **plain("min_p", "top_k", "logit_bias"), "repetition_penalty": "repeat_penalty",
    },
    always=("temperature", "top_p", "min_p", "top_k", "repetition_penalty"),
    # It reads grammars, too, but ends altogether at one that has a mistake in it.
    formats={JsonObject: json_object, JsonSchema: _schema},
    chooses_tools=False,
    limits_calls=False,
    template_options=None,
)  # fmt: skip


class LlamaCppPython:
    """A Kind."""

    word: ProviderKind = "llama-cpp-python"
    title = "llama-cpp-python"
    manners = MANNERS

    def __init__(self) -> None:
        self._cards: tuple[ModelCard, ...] | None = None
        """Of this life of it."""

    async def recognise(self, probe: Probe) -> str | None:
        told = await probe.find("/openapi.json")
        try:
            info = told["info"]
            return str(info["version"]) if "llama.cpp Python API" in info["title"] else None
        except (KeyError, TypeError):
            return None

    async def look(self, probe: Probe) -> Look:
        cards, self._cards = self._cards, None
        # It has no such path: any answer is a sign of life, and this one holds up nobody.
        await probe.find("/health")
        if cards is None:
            cards = self._read(await probe.find("/v1/models"))
        self._cards = cards
        return Look(cards=cards, slots=1, manners=MANNERS)

    def _read(self, listed: Any) -> tuple[ModelCard, ...]:
        try:
            return tuple(
                ModelCard(id=ModelId(entry["id"]), context_length=0, keeps_formats=True)
                for entry in listed["data"]
            )
        except (KeyError, TypeError) as error:
            raise unreadable(self.title, error) from error

    async def load(self, probe: Probe, model: ModelId) -> None:
        raise loads_by_itself(self.title)

    async def unload(self, probe: Probe, model: ModelId) -> None:
        raise loads_by_itself(self.title)
