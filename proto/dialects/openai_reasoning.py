"""How OpenAI's clients say how much a model may think: the vendor's field, and what others send.

``reasoning_effort`` is OpenAI's, ``reasoning`` and ``include_reasoning`` are OpenRouter's,
``chat_template_kwargs`` is vLLM's, ``enable_thinking`` and ``thinking_budget`` are Qwen's,
``thinking`` is DeepSeek's, GLM's and Kimi's.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from proto.dialects.asked import LARGEST, invalid
from proto.dialects.openai_request import Request
from proto.prompt import Effort, Thinking

SaidEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""``max`` is the same as ``xhigh``."""
Budget = Annotated[int, Meta(ge=0, le=LARGEST)]

OWN_ARGUMENTS = frozenset(
    {
        "add_generation_prompt", "chat_template", "continue_final_message", "conversation",
        "max_length", "messages", "padding", "return_assistant_tokens_mask", "return_dict",
        "return_tensors", "tokenize", "tokenizer_kwargs", "tools", "truncation",
    }
)  # fmt: skip
"""What rendering a template takes for itself. Its variables are what a client may set."""


STEERED = ("enable_thinking", "reasoning_effort", "thinking_budget")
"""Variables that the engine sets itself, as the whole request resolves them."""


class Reasoning(Struct, forbid_unknown_fields=True, kw_only=True):
    """OpenRouter's form."""

    effort: SaidEffort | None = None
    max_tokens: Budget | None = None
    """After so many tokens the thinking is closed."""
    enabled: bool | None = None
    exclude: bool | None = None
    """Think, but leave it out of the answer."""


class ThinkingSwitch(Struct, forbid_unknown_fields=True, kw_only=True):
    type: Literal["enabled", "disabled", "adaptive", "auto"]
    budget_tokens: Budget | None = None


class _TemplateWords(Struct, kw_only=True):
    """What template variables say that is ours to steer; whatever else there is, is passed on."""

    enable_thinking: bool | None = None
    thinking: bool | None = None
    reasoning_effort: SaidEffort | None = None
    thinking_budget: Budget | None = None


class ReasoningRequest(Request, forbid_unknown_fields=True, kw_only=True):
    """What is said twice counts in the order in which the fields stand here."""

    reasoning_effort: SaidEffort | None = None
    """``none`` turns thinking off. A model whose template knows no effort gets a token budget."""
    enable_thinking: bool | None = None
    """Ours: turns thinking on or off; left out, a model that reasons thinks."""
    thinking_budget: Budget | None = None
    """Ours: after so many tokens the thinking is closed; 0 turns it off."""
    reasoning: Reasoning | None = None
    """Ours: the same, and more, in OpenRouter's form."""
    thinking: ThinkingSwitch | None = None
    """Ours: the same in the form of DeepSeek, GLM and Kimi."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Ours: variables for the model's chat template; those above are understood here, too."""
    include_reasoning: bool | None = None
    """Ours: false leaves what was thought out of the answer; reasoning.exclude says the same."""

    def thinking_wanted(self) -> Thinking:
        """Raises MeshError where fields contradict one another."""
        said, switch = self.reasoning or Reasoning(), self.thinking
        return thinking(
            enabled=_first(self.enable_thinking, said.enabled, _switched(switch)),
            effort=_first(self.reasoning_effort, said.effort),
            budget=_first(self.thinking_budget, said.max_tokens, switch and switch.budget_tokens),
            options=self.chat_template_kwargs or {},
        )

    def template_options(self) -> dict[str, Any]:
        """Raises MeshError."""
        return template_options(self.chat_template_kwargs or {})

    def shows_reasoning(self) -> bool:
        return self.include_reasoning is not False and not (self.reasoning or Reasoning()).exclude


def thinking(
    *,
    enabled: bool | None,
    effort: SaidEffort | None,
    budget: int | None,
    options: dict[str, Any],
) -> Thinking:
    """What fields of a request come down to; where they are silent, variables of the template.

    Raises MeshError where they contradict one another.
    """
    words = _words(options)
    effort = _first(effort, words.reasoning_effort)
    budget = _first(budget, words.thinking_budget)
    if effort != "none" and budget != 0:
        on = _first(enabled, words.enable_thinking, words.thinking)
        return Thinking(enabled=on, effort=_canonical(effort), budget_tokens=budget)
    if enabled:
        raise invalid(
            "Thinking is turned on by one field and off by another; leave one of them out.",
            "reasoning_effort" if effort == "none" else "thinking_budget",
        )
    return Thinking(enabled=False, effort="none")


def template_options(options: dict[str, Any]) -> dict[str, Any]:
    """The variables that are left for the template alone. Raises MeshError."""
    for name in options:
        if name in OWN_ARGUMENTS:
            place = f"chat_template_kwargs.{name}"
            raise invalid(f"`{place}` is no variable of a template; leave it out.", place)
    return {name: value for name, value in options.items() if name not in STEERED}


def _words(options: dict[str, Any]) -> _TemplateWords:
    try:
        return msgspec.convert(options, _TemplateWords)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at ")
        field = f"chat_template_kwargs{place.strip('`').removeprefix('$')}"
        raise invalid(f"`{field}`: {what[:1].lower()}{what[1:]}.", field) from None


def _switched(switch: ThinkingSwitch | None) -> bool | None:
    return None if switch is None or switch.type == "auto" else switch.type != "disabled"


def _canonical(effort: SaidEffort | None) -> Effort | None:
    return "xhigh" if effort == "max" else effort


def _first(*said: Any) -> Any:
    return next((each for each in said if each is not None), None)
