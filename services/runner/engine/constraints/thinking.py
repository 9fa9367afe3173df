"""How long a model may think before it answers, and how its template is told."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from jinja2 import TemplateError
from mlx_lm.tokenizer_utils import TokenizerWrapper

from proto.prompt import Chat, Effort
from services.runner.engine.rendering import render
from services.runner.engine.template import mentions

LADDER: tuple[Effort, ...] = ("minimal", "low", "medium", "high", "xhigh")
BUDGETS: Mapping[Effort, int | None] = {
    "minimal": 128,
    "low": 1024,
    "medium": 4096,
    "high": 16384,
    "xhigh": None,
}
"""Most tokens of thinking, for models whose template does not know of effort."""
ANSWER_SHARE = 0.25
"""Part of the answer's tokens that a budget leaves for what comes after the thinking."""
_PROBE = [{"role": "user", "content": "?"}]


class Resolved(NamedTuple):
    """What one request's thinking comes to."""

    is_enabled: bool
    budget: int | None
    """Most tokens in the block; None: as many as the model likes."""
    template_arguments: dict[str, Any]

    def within(self, max_tokens: int) -> int | None:
        """The budget, with room for an answer of ``max_tokens`` in all."""
        if self.budget is None:
            return None
        return min(self.budget, int(max_tokens * (1 - ANSWER_SHARE)))


class Thinking:
    """One model's way to think; of a model that does not, nothing is ever limited."""

    def __init__(
        self, tokenizer: TokenizerWrapper, *, reasons: bool, efforts: tuple[Effort, ...] = ()
    ) -> None:
        """``efforts`` are those that the model was trained on, where that is known."""
        self._tokenizer = tokenizer
        self._reasons = reasons
        self._trained = efforts

    def resolve(self, chat: Chat) -> Resolved:
        if not self._reasons:
            return Resolved(False, None, {})
        asked = chat.thinking
        is_enabled = self._is_enabled(chat)
        effort = asked.effort if is_enabled else "none"
        arguments = self._switch(is_enabled) | self._effort(effort)
        if not is_enabled:
            # What the client opened itself goes on as long as it likes.
            return Resolved(False, None if chat.continues_last else 0, arguments)
        budget = asked.budget_tokens
        if budget is None and effort is not None and not self.efforts:
            budget = BUDGETS[effort]
        return Resolved(True, budget, arguments)

    @cached_property
    def efforts(self) -> tuple[Effort, ...]:
        """Those that the template takes and makes a difference of."""
        if not mentions(self._tokenizer, "reasoning_effort"):
            return ()
        rendered = {effort: self._rendered(effort) for effort in (*LADDER, "none")}
        taken = {effort: text for effort, text in rendered.items() if text is not None}
        if len(set(taken.values())) < 2:
            return ()
        return tuple(e for e in taken if not self._trained or e in self._trained)

    def _is_enabled(self, chat: Chat) -> bool:
        asked = chat.thinking
        is_off = asked.enabled is False or asked.effort == "none" or asked.budget_tokens == 0
        return not (is_off or chat.continues_last)

    def _switch(self, is_enabled: bool) -> dict[str, Any]:
        """Some templates call the switch ``thinking``."""
        arguments = {"enable_thinking": is_enabled}
        if not mentions(self._tokenizer, "enable_thinking"):
            arguments["thinking"] = is_enabled
        return arguments

    def _effort(self, asked: Effort | None) -> dict[str, Any]:
        nearest = self._nearest(asked) if asked is not None else None
        return {} if nearest is None else {"reasoning_effort": nearest}

    def _nearest(self, asked: Effort) -> Effort | None:
        """Of two that are as near, the lesser."""
        if asked in self.efforts:
            return asked
        steps = ("none", *LADDER)
        wanted = steps.index(asked)
        known = [effort for effort in steps if effort in self.efforts]
        if asked != "none":
            known = [effort for effort in known if effort != "none"]
        return min(known, key=lambda e: abs(steps.index(e) - wanted), default=None)

    def _rendered(self, effort: Effort) -> str | None:
        try:
            options = {"add_generation_prompt": True, "reasoning_effort": effort}
            return render(self._tokenizer, _PROBE, **options)
        except (TemplateError, ValueError, TypeError, KeyError, AssertionError):
            return None
