"""OdyssAI-X, by its capability contract. It takes max_tokens, tools, enable_thinking and
reasoning_effort, and drops every other parameter; so stop strings are cut here.
"""

from typing import Any

from proto.config import ProviderKind
from proto.errors import Code, MeshError
from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.engines.contract import contract_of, name_of, version_of
from services.cloud.engines.kind import Look, unreadable
from services.cloud.engines.manners import Manners
from services.cloud.engines.probe import LOAD_S, Probe
from services.cloud.engines.telemak import thinking

VENDOR = "odyssai.eu"
MOST_TOKENS = 32_768
"""An answer without a limit would end at 512; no model of it writes more at a time."""
MANNERS = Manners(
    title="OdyssAI-X",
    sampling={},
    always=(),
    chooses_tools=False,
    limits_calls=False,
    template_options=None,
    thinking=thinking,
    stops=False,
    default_tokens=MOST_TOKENS,
)


class OdyssaiX:
    """A Kind."""

    word: ProviderKind = "odyssai"
    title = "OdyssAI-X"
    manners = MANNERS

    async def recognise(self, probe: Probe) -> str | None:
        """We serve the same vendor's contract, under our own name."""
        contract = await contract_of(probe)
        if contract is None or contract.get("vendor") != VENDOR or "models" in contract:
            return None
        return version_of(contract) if not name_of(contract).startswith("odyssai-mesh") else None

    async def look(self, probe: Probe) -> Look:
        listed = await probe.find("/v1/models?include_unloaded=true")
        try:
            cards = tuple(map(_card, listed["data"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(self.title, error) from error
        return Look(cards=cards, manners=MANNERS)

    async def load(self, probe: Probe, model: ModelId) -> None:
        """Into the cluster that has the model on its disks."""
        await probe.tell(
            f"/admin/clusters/{await _cluster(probe, model)}/load", {"model": model}, LOAD_S
        )

    async def unload(self, probe: Probe, model: ModelId) -> None:
        cluster = await _cluster(probe, model)
        await probe.tell(f"/admin/clusters/{cluster}/unload?alias={model}", {}, LOAD_S)


async def _cluster(probe: Probe, model: ModelId) -> str:
    """Its owner is ``odyssai-CLUSTER``."""
    listed = await probe.find("/v1/models?include_unloaded=true") or {}
    for entry in listed.get("data", ()):
        if entry.get("id") == model:
            return str(entry.get("owned_by", "")).removeprefix("odyssai-")
    raise MeshError(Code.MODEL_NOT_FOUND, f"OdyssAI-X has no model {model!r}.", param="model")


def _card(entry: dict[str, Any]) -> ModelCard:
    told = entry.get("x_odyssai") or {}
    return ModelCard(
        id=ModelId(entry["id"]),
        context_length=int(told.get("context_length") or 0),
        family=str(told.get("family") or ""),
        quantization=str(told.get("quantization") or ""),
        size_bytes=int(told.get("size_bytes") or 0),
        created_s=int(entry.get("created") or 0),
        kind="vlm" if told.get("supports_vision") else "llm",
        calls_tools=bool(told.get("supports_tools")),
        sleeps=not told.get("ready", True),
    )
