"""llama.cpp's own server. https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md;
started without a model it is a router, which has many and can be told to load them.
"""

from typing import Any
from urllib.parse import quote

from proto.config import ProviderKind
from proto.errors import Code, MeshError
from proto.format import Grammar, JsonObject, JsonSchema
from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.engines.kind import Look, loads_by_itself, unreadable
from services.cloud.engines.manners import (
    OPENAI,
    Manners,
    Said,
    by_template,
    json_object,
    json_schema,
    plain,
)
from services.cloud.engines.probe import LOAD_S, Probe


def grammar(wanted: Grammar) -> Said:
    """Raises MeshError for what is plainly no GBNF; of other mistakes the server tells."""
    if "::=" not in wanted.source:
        raise MeshError(
            Code.UNSUPPORTED_PARAMETER,
            "`response_format`: llama.cpp reads grammars in its own notation (GBNF) only.",
            param="response_format",
        )
    return {"grammar": wanted.source}


MANNERS = Manners(
    title="llama.cpp",
    sampling={
        **OPENAI, **plain("min_p", "top_k", "logit_bias"), "word_bias": "logit_bias",
        "repetition_penalty": "repeat_penalty",
    },
    always=("temperature", "top_p", "min_p", "top_k"),
    penalised={"repeat_last_n": -1},
    formats={JsonObject: json_object, JsonSchema: json_schema, Grammar: grammar},
    top_logprobs=20,
    thinking=by_template,
    reads_tokens=True,
)  # fmt: skip
ASLEEP = ("unloaded", "sleeping", "downloading")


class LlamaCpp:
    """A Kind."""

    word: ProviderKind = "llamacpp"
    title = "llama.cpp"
    manners = MANNERS

    async def recognise(self, probe: Probe) -> str | None:
        props = await probe.find("/props")
        if isinstance(props, dict) and (
            "default_generation_settings" in props or props.get("role") == "router"
        ):
            return str(props.get("build_info") or "")
        listed = await probe.find("/v1/models")
        try:
            return "" if any(e.get("owned_by") == "llamacpp" for e in listed["data"]) else None
        except (KeyError, TypeError, AttributeError):
            return None

    async def look(self, probe: Probe) -> Look:
        props, listed = await probe.find("/props"), await probe.find("/v1/models")
        props = props if isinstance(props, dict) else {}
        try:
            entries = listed["data"]
            cards = tuple([await self._card(probe, entry, props) for entry in entries])
            slots = int(props.get("total_slots") or 0) or None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(self.title, error) from error
        return Look(cards=cards, slots=slots, manners=MANNERS)

    async def load(self, probe: Probe, model: ModelId) -> None:
        await self._order(probe, "load", model)

    async def unload(self, probe: Probe, model: ModelId) -> None:
        await self._order(probe, "unload", model)

    async def _order(self, probe: Probe, verb: str, model: ModelId) -> None:
        try:
            told = await probe.tell(f"/models/{verb}", {"model": model}, LOAD_S)
        except MeshError as error:
            if error.code is Code.UNSUPPORTED_PARAMETER and not await _routes(probe):
                raise loads_by_itself("A llama.cpp that was started with one model") from error
            raise
        if isinstance(told, dict) and told.get("success") is False:
            raise MeshError(Code.UPSTREAM, f"llama.cpp did not {verb} {model}: {told}")

    async def _card(self, probe: Probe, entry: dict[str, Any], props: dict[str, Any]) -> ModelCard:
        """A router is asked for what it says of each model that is loaded."""
        state = (entry.get("status") or {}).get("value", "loaded")
        if "status" in entry and state == "loaded":
            props = await probe.find(f"/props?model={quote(entry['id'], safe='')}") or {}
        meta = entry.get("meta") or {}
        reads = (entry.get("architecture") or {}).get("input_modalities") or ()
        sees = "image" in reads or bool((props.get("modalities") or {}).get("vision"))
        settings = props.get("default_generation_settings") or {}
        can = props.get("chat_template_caps") or {}
        return ModelCard(
            id=ModelId(entry["id"]),
            context_length=int(settings.get("n_ctx") or meta.get("n_ctx_train") or 0),
            size_bytes=int(meta.get("size") or 0),
            created_s=int(entry.get("created") or 0),
            kind="vlm" if sees else "llm",
            calls_tools=bool(can.get("supports_tools")),
            keeps_formats=True,
            sleeps=state in ASLEEP or bool(props.get("is_sleeping")),
        )


async def _routes(probe: Probe) -> bool:
    props = await probe.find("/props")
    return isinstance(props, dict) and props.get("role") == "router"
