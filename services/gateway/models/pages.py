"""Models as Anthropic's clients know them, a page at a time."""

from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from proto.dialects.asked import invalid
from services.gateway.http.query import Query, number, single

PAGE = 20
MOST = 1000


class Support(Struct, frozen=True):
    supported: bool = False


class ContextManagement(Support, frozen=True):
    clear_thinking_20251015: Support = Support()
    clear_tool_uses_20250919: Support = Support()
    compact_20260112: Support = Support()


class EffortLevels(Support, frozen=True, kw_only=True):
    low: Support
    medium: Support
    high: Support
    xhigh: Support
    max: Support


class ServerTools(Support, frozen=True):
    code_execution: Support = Support()
    web_search: Support = Support()


class ThinkingTypes(Struct, frozen=True, kw_only=True):
    adaptive: Support
    between_tools: Support = Support()
    disabled: Support = Support(True)
    enabled: Support


class ThinkingSupport(Support, frozen=True, kw_only=True):
    types: ThinkingTypes


class Capabilities(Struct, frozen=True, kw_only=True):
    """Every capability that the vendor's SDK knows, there or not."""

    batch: Support = Support()
    citations: Support = Support()
    code_execution: Support = Support()
    context_management: ContextManagement = ContextManagement()
    effort: EffortLevels
    image_input: Support
    pdf_input: Support = Support()
    server_tools: ServerTools = ServerTools()
    structured_outputs: Support
    thinking: ThinkingSupport


class ModelInfo(Struct, frozen=True, kw_only=True, tag_field="type", tag="model"):
    """A model as Anthropic's clients know it."""

    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"
    line: None = None
    deprecated_at: None = None
    retires_at: None = None
    max_input_tokens: int
    max_tokens: int
    capabilities: Capabilities


class ModelPage(Struct, frozen=True, kw_only=True):
    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None


def info(
    id: str,
    created_s: int,
    *,
    context_length: int,
    max_tokens: int,
    reasons: bool,
    sees: bool,
    reads_documents: bool,
    keeps_formats: bool,
) -> ModelInfo:
    made = datetime.fromtimestamp(created_s, UTC)
    return ModelInfo(
        id=id,
        display_name=id,
        created_at=made.isoformat().replace("+00:00", "Z"),
        max_input_tokens=context_length,
        max_tokens=max_tokens,
        capabilities=_capabilities(
            Support(reasons), Support(sees), Support(reads_documents), Support(keeps_formats)
        ),
    )


def _capabilities(
    reasons: Support, sees: Support, reads_documents: Support, keeps_formats: Support
) -> Capabilities:
    return Capabilities(
        effort=EffortLevels(
            reasons.supported,
            low=reasons,
            medium=reasons,
            high=reasons,
            xhigh=reasons,
            max=reasons,
        ),
        image_input=sees,
        pdf_input=reads_documents,
        structured_outputs=keeps_formats,
        thinking=ThinkingSupport(
            reasons.supported, types=ThinkingTypes(adaptive=reasons, enabled=reasons)
        ),
    )


def page(listed: list[ModelInfo], query: Query) -> ModelPage:
    """The page that ``before_id`` or ``after_id`` and ``limit`` ask for. Raises MeshError.

    ``listed`` is in the order of the ids; one that went away meanwhile keeps its place in it.
    """
    limit = number(query, "limit", PAGE, least=1, most=MOST)
    after, before = single(query, "after_id"), single(query, "before_id")
    if after and before:
        raise invalid("`after_id` and `before_id` exclude each other; send one.", "before_id")
    listed = _of_stages(listed, query)
    if before:
        rest = [model for model in listed if model.id < before]
        shown, has_more = rest[-limit:], len(rest) > limit
    else:
        rest = [model for model in listed if after is None or model.id > after]
        shown, has_more = rest[:limit], len(rest) > limit
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return ModelPage(data=shown, has_more=has_more, first_id=first, last_id=last)


def _of_stages(listed: list[ModelInfo], query: Query) -> list[ModelInfo]:
    """Every model here is active; clients may ask for others only."""
    stages = query.get("lifecycle", []) + query.get("lifecycle[]", [])
    return listed if not stages or "active" in stages else []
