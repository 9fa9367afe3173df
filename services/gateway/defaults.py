"""What the operator decided for a model, put into requests that say nothing of their own."""

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from proto.config import ModelConfig
from proto.dialects.asked import Asked
from proto.effective import value
from proto.generation import Sampling
from proto.prompt import Chat, Prompt, TextPart, Thinking, Turn


def with_defaults(asked: Asked, config: ModelConfig) -> Asked:
    """The request with every default that it leaves room for."""
    if config == ModelConfig():
        return asked
    most = asked.max_tokens
    return replace(
        asked,
        sampling=replace(asked.sampling, **_left_open(asked, config)),
        max_tokens=value(config.max_tokens, None) if most is None else most,
        prompts=tuple(with_prompt_defaults(prompt, config) for prompt in asked.prompts),
    )


def is_silent(config: ModelConfig) -> bool:
    """No request is changed by it."""
    told = (*Sampling.__struct_fields__, "max_tokens", "system_prefix", "thinking", "effort")
    return all(value(getattr(config, name, UNSET), None) is None for name in told)


def _left_open(asked: Asked, config: ModelConfig) -> dict[str, Any]:
    defaults = {name: getattr(config, name, UNSET) for name in Sampling.__struct_fields__}
    return {
        name: default
        for name, default in defaults.items()
        if default is not UNSET and default is not None and name not in asked.given
    }


def with_prompt_defaults(prompt: Prompt, config: ModelConfig) -> Prompt:
    """Only a conversation has any."""
    if not isinstance(prompt, Chat):
        return prompt
    prefix = value(config.system_prefix, "")
    turns = tuple(_prefixed(prompt.turns, prefix)) if prefix else prompt.turns
    is_silent = prompt.thinking == Thinking()
    return replace(
        prompt, turns=turns, thinking=_thinking(config) if is_silent else prompt.thinking
    )


def _thinking(config: ModelConfig) -> Thinking:
    effort = value(config.effort, None)
    enabled = False if effort == "none" else value(config.thinking, None)
    return Thinking(enabled=enabled, effort=effort)


def _prefixed(turns: tuple[Turn, ...], prefix: str) -> Iterable[Turn]:
    """In front of the system prompt, a paragraph of its own; where there is none, instead of it."""
    if not turns or turns[0].role != "system":
        return (Turn(role="system", content=prefix), *turns)
    first, content = turns[0], turns[0].content
    if isinstance(content, str):
        joined: str | tuple[Any, ...] = f"{prefix}\n\n{content}" if content else prefix
    else:
        before, *rest = content
        assert isinstance(before, TextPart), "systems say words"
        joined = (replace(before, text=f"{prefix}\n\n{before.text}"), *rest)
    return (replace(first, content=joined), *turns[1:])
