"""How much a model may think, in the words of Anthropic's protocol.

Newer models think by themselves, more or less of it as an effort says; older ones are given a
budget. https://platform.claude.com/docs/en/build-with-claude/thinking
"""

from typing import Any

from proto.prompt import Effort, Thinking
from services.cloud.anthropic.abilities import Abilities
from services.cloud.unsupported import unsupported

LEAST = 1024
"""Tokens of a budget."""
BUDGETS: dict[Effort, int] = {
    "minimal": LEAST,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
}
"""What an effort comes to for a model that knows budgets only, and the other way round."""
USUAL: Effort = "medium"

Said = dict[str, Any]


def thinking_of(thinking: Thinking, can: Abilities, max_tokens: int) -> tuple[Said, str | None]:
    """Fields of the body, and the effort for its ``output_config``. Raises MeshError."""
    effort, budget = thinking.effort, thinking.budget_tokens
    if thinking.enabled is False or effort == "none":
        return {"thinking": {"type": "disabled"}}, None
    if budget is not None and budget < LEAST:
        raise unsupported("thinking_budget", f"thinks for {LEAST} tokens or more, or not at all")
    if thinking.enabled is None and effort is None and budget is None:
        return {}, None
    if budget is not None and can.thinks_by_budget is not False:
        told = _known(effort, can) if effort else None
        return _budget(budget, max_tokens, is_own=False), told
    if can.thinks_by_itself is False:
        own = budget or BUDGETS[effort or USUAL]
        return _budget(own, max_tokens, is_own=True), None
    wanted = effort or (None if budget is None else _effort(budget))
    return {"thinking": {"type": "adaptive"}}, wanted and _known(wanted, can)


def _budget(tokens: int, max_tokens: int, *, is_own: bool) -> Said:
    """Thinking is part of the answer's limit, so a budget of our own fits into it."""
    if is_own:
        tokens = min(tokens, max_tokens - 1)
    if tokens < LEAST:
        raise unsupported(
            "max_tokens", f"needs more than {LEAST} for an answer with thinking; ask for more"
        )
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


def _effort(budget: int) -> Effort:
    return next((name for name, tokens in BUDGETS.items() if budget <= tokens), "xhigh")


def _known(effort: Effort, can: Abilities) -> str | None:
    """The next lower one that the model takes; None: it takes none."""
    ladder = ("low", "medium", "high", "xhigh")
    at = max(0, ladder.index(effort)) if effort in ladder else 0
    if can.efforts is None:
        return ladder[min(at, 2)]
    return next((name for name in reversed(ladder[: at + 1]) if name in can.efforts), None)
