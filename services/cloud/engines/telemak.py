"""Telemak, by its capability contract. What it honours of a request: temperature, top_p, top_k,
min_p, repetition_penalty, stop, seed, tools, tool_choice, enable_thinking, reasoning_effort.
"""

from typing import Any

from proto.config import ProviderKind
from proto.ids import ModelId
from proto.presence import ModelCard, ModelKind
from proto.prompt import Thinking
from services.cloud.engines.contract import contract_of, name_of, version_of
from services.cloud.engines.kind import Look, unreadable
from services.cloud.engines.manners import Manners, Said, plain
from services.cloud.engines.probe import LOAD_S, Probe

KINDS: dict[str, ModelKind] = {"vlm": "vlm", "embedder": "embedder"}


def thinking(wanted: Thinking) -> Said:
    said: Said = {}
    if wanted.enabled is not None:
        said["enable_thinking"] = wanted.enabled
    if wanted.effort is not None:
        said["reasoning_effort"] = wanted.effort
    return said


MANNERS = Manners(
    title="Telemak",
    sampling=plain("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed"),
    always=("temperature", "top_p", "top_k", "min_p"),
    limits_calls=False,
    template_options=None,
    thinking=thinking,
)


class Telemak:
    """A Kind. What is loaded stands in its contract, and what it could load elsewhere."""

    word: ProviderKind = "telemak"
    title = "Telemak"
    manners = MANNERS

    async def recognise(self, probe: Probe) -> str | None:
        contract = await contract_of(probe)
        is_it = contract is not None and name_of(contract).startswith("telemak")
        return version_of(contract) if contract and is_it else None

    async def look(self, probe: Probe) -> Look:
        contract = await contract_of(probe) or {}
        try:
            can = contract["capabilities"]
            cards = tuple(_card(entry, can) for entry in contract["models"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(self.title, error) from error
        return Look(cards=cards, manners=MANNERS)

    async def load(self, probe: Probe, model: ModelId) -> None:
        await probe.tell("/admin/load", {"model": model}, LOAD_S)

    async def unload(self, probe: Probe, model: ModelId) -> None:
        await probe.tell("/admin/unload", {"model": model}, LOAD_S)


def _card(entry: dict[str, Any], can: dict[str, Any]) -> ModelCard:
    told = entry.get("x_telemak") or {}
    kind = KINDS.get(str(told.get("kind")), "llm")
    return ModelCard(
        id=ModelId(entry["id"]),
        context_length=int(can.get("max_context") or 0),
        size_bytes=int(float(told.get("size_gb") or 0) * (1 << 30)),
        kind=kind,
        calls_tools=bool(can.get("tools")) and kind != "embedder",
    )
