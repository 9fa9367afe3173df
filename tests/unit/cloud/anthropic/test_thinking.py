"""How much to think, in the words that a model's catalog entry says it takes."""

from typing import Any

import pytest

from proto.errors import MeshError
from proto.prompt import Thinking
from services.cloud.anthropic.abilities import UNKNOWN, Abilities
from services.cloud.anthropic.thinking import thinking_of

NEWER = Abilities(
    thinks_by_itself=True, thinks_by_budget=False, efforts=frozenset({"low", "medium", "high"})
)
OLDER = Abilities(thinks_by_itself=False, thinks_by_budget=True, efforts=frozenset())
ADAPTIVE = {"type": "adaptive"}


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


@pytest.mark.parametrize(
    ("thinking", "can", "said", "effort"),
    [
        (Thinking(), NEWER, None, None),
        (Thinking(enabled=False), NEWER, {"type": "disabled"}, None),
        (Thinking(effort="none"), OLDER, {"type": "disabled"}, None),
        (Thinking(enabled=True), NEWER, ADAPTIVE, None),
        (Thinking(enabled=True), OLDER, budget(8192), None),
        (Thinking(effort="low"), NEWER, ADAPTIVE, "low"),
        (Thinking(effort="minimal"), NEWER, ADAPTIVE, "low"),
        (Thinking(effort="xhigh"), NEWER, ADAPTIVE, "high"),
        (Thinking(effort="xhigh"), UNKNOWN, ADAPTIVE, "high"),
        (Thinking(effort="high"), OLDER, budget(9999), None),
        (Thinking(budget_tokens=2000), NEWER, ADAPTIVE, "low"),
        (Thinking(budget_tokens=2000), OLDER, budget(2000), None),
        (Thinking(budget_tokens=2000), UNKNOWN, budget(2000), None),
    ],
)
def test_a_model_is_told_in_the_form_that_it_takes(
    thinking: Thinking, can: Abilities, said: dict[str, Any] | None, effort: str | None
) -> None:
    assert thinking_of(thinking, can, 10_000) == ({"thinking": said} if said else {}, effort)


def test_a_limit_that_leaves_no_room_to_think_is_refused_by_name() -> None:
    with pytest.raises(MeshError) as refused:
        thinking_of(Thinking(effort="low"), OLDER, 1000)

    assert refused.value.param == "max_tokens"
