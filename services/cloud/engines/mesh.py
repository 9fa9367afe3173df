"""Another mesh of ours: one engine, whose models are those that it has itself or reaches itself.

What it has from a further mesh is left out, and a request that came from a mesh goes to no other:
two that have each other would hand one round for ever.
"""

from typing import Any

from proto.config import ProviderKind
from proto.format import Grammar, JsonObject, JsonSchema, Regex
from proto.generation import Sampling
from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.engines.contract import contract_of, name_of, version_of
from services.cloud.engines.kind import Look, unreadable
from services.cloud.engines.manners import Manners, Said, json_object, json_schema, plain
from services.cloud.engines.probe import LOAD_S, Probe

NAME = "odyssai-mesh"


def _regex(wanted: Regex) -> Said:
    return {"response_format": {"type": "regex", "pattern": wanted.pattern}}


def _grammar(wanted: Grammar) -> Said:
    return {"response_format": {"type": "grammar", "grammar": wanted.source}}


MANNERS = Manners(
    title="The other mesh",
    sampling=plain(*Sampling.__struct_fields__) | {"word_bias": "logit_bias"},
    formats={
        JsonObject: json_object, JsonSchema: json_schema, Regex: _regex, Grammar: _grammar,
    },
    top_logprobs=20,
    reads_tokens=True,
)  # fmt: skip


class OtherMesh:
    """A Kind."""

    word: ProviderKind = "mesh"
    title = "odyssai-mesh"
    manners = MANNERS

    async def recognise(self, probe: Probe) -> str | None:
        contract = await contract_of(probe)
        return version_of(contract) if contract and name_of(contract) == NAME else None

    async def look(self, probe: Probe) -> Look:
        contract = await contract_of(probe)
        listed = await probe.find("/v1/models?include_unloaded=true")
        try:
            limits = (contract or {})["limits"]
            cards = tuple(_card(entry) for entry in listed["data"] if _is_its_own(entry))
            slots = int(limits["max_concurrent_requests"]) or None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(self.title, error) from error
        return Look(cards=cards, slots=slots, manners=MANNERS)

    async def load(self, probe: Probe, model: ModelId) -> None:
        await probe.tell("/admin/models/load", {"model": model, "wait": True}, LOAD_S)

    async def unload(self, probe: Probe, model: ModelId) -> None:
        await probe.tell("/admin/models/unload", {"model": model, "wait": True}, LOAD_S)


def _is_its_own(entry: dict[str, Any]) -> bool:
    """No alias, not from a further mesh, and there is somebody to answer for it."""
    told = entry["x_odyssai"]
    is_there = told["ready"] or told["loading"] or told["admin_loadable"]
    return is_there and not told["alias_for"] and not told.get("hops")


def _card(entry: dict[str, Any]) -> ModelCard:
    told = entry["x_odyssai"]
    return ModelCard(
        id=ModelId(entry["id"]),
        context_length=int(told["context_length"]),
        family=str(told["family"]),
        quantization=str(told["quantization"]),
        size_bytes=int(told["size_bytes"]),
        created_s=int(entry["created"]),
        kind=told["kind"],
        calls_tools=bool(told["supports_tools"]),
        reasons=bool(told["supports_reasoning"]),
        keeps_formats=bool(told["supports_json_mode"]),
        embedding_size=int(told["embedding_size"]),
        sleeps=not told["loaded"],
        leaves=bool(told.get("leaves")),
        hops=1,
    )
