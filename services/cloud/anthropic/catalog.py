"""Entries of a model list as Anthropic's ``GET /v1/models`` has them, as cards.

https://platform.claude.com/docs/en/api/models/list
"""

from datetime import datetime
from typing import Any

from msgspec import Struct

from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.anthropic.abilities import Abilities

PAGE = 1000
"""Most entries of a page."""


class _Support(Struct, frozen=True):
    supported: bool = False


NO = _Support()


class _ThinkingTypes(Struct, frozen=True):
    adaptive: _Support = NO
    enabled: _Support = NO


class _Thinking(Struct, frozen=True):
    supported: bool = False
    types: _ThinkingTypes = _ThinkingTypes()


class _Capabilities(Struct, frozen=True):
    image_input: _Support = NO
    pdf_input: _Support = NO
    structured_outputs: _Support = NO
    thinking: _Thinking = _Thinking()
    effort: dict[str, Any] = {}


class Model(Struct, frozen=True):
    """What is not looked at is left out. Servers that speak this protocol tell the id at least."""

    id: str
    created_at: str | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    lifecycle: str | None = None
    capabilities: _Capabilities | None = None

    @property
    def is_there(self) -> bool:
        return self.lifecycle != "retired"

    @property
    def card(self) -> ModelCard:
        can = self.capabilities or _Capabilities()
        return ModelCard(
            id=ModelId(self.id),
            context_length=self.max_input_tokens or 0,
            max_output_tokens=self.max_tokens or 0,
            created_s=_created_s(self.created_at),
            kind="vlm" if can.image_input.supported else "llm",
            reads_documents=can.pdf_input.supported,
            calls_tools=True,
            reasons=can.thinking.supported,
            keeps_formats=can.structured_outputs.supported,
        )

    @property
    def abilities(self) -> Abilities:
        most = self.max_tokens or 0
        if self.capabilities is None:
            return Abilities(most_tokens=most)
        types, levels = self.capabilities.thinking.types, self.capabilities.effort
        return Abilities(
            thinks_by_itself=types.adaptive.supported,
            thinks_by_budget=types.enabled.supported,
            efforts=frozenset(name for name, can in levels.items() if _does(can)),
            most_tokens=most,
        )


class Page(Struct, frozen=True):
    data: tuple[Model, ...]
    has_more: bool = False
    last_id: str | None = None


def _does(can: Any) -> bool:
    """Of an entry of ``effort``, which has a flag of its own among the levels."""
    return isinstance(can, dict) and can.get("supported") is True


def _created_s(said: str | None) -> int:
    try:
        return max(0, int(datetime.fromisoformat(said or "").timestamp()))
    except ValueError:
        return 0
