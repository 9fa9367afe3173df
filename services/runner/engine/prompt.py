"""From a canonical prompt to the model's tokens, and whether they leave room for an answer."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jinja2 import TemplateError

from proto.errors import Code, MeshError
from proto.inference import Chat, Prompt, Text, Tokens
from services.runner.engine.loading import LoadedModel


def tokens_of(
    prompt: Prompt, model: LoadedModel, template_arguments: Mapping[str, Any] = MappingProxyType({})
) -> list[int]:
    """``template_arguments`` are what the engine itself gives the chat template, by name."""
    match prompt:
        case Chat():
            tokens = _render(prompt, model, template_arguments)
        case Text(text=text):
            tokens = _encode(text, model)
        case Tokens(ids=ids):
            tokens = _checked(ids, model.vocab_size)
    if not tokens:
        raise _invalid("the prompt is empty")
    return tokens


def room(prompt_tokens: int, max_tokens: int | None, context_length: int) -> int:
    """How many tokens the answer may have: what was asked for, within what the context leaves."""
    left = context_length - prompt_tokens
    if left < (max_tokens != 0):
        raise MeshError(
            Code.CONTEXT_OVERFLOW,
            f"the prompt has {prompt_tokens} tokens and the model's context holds "
            f"{context_length}, the answer included: shorten the prompt",
        )
    return left if max_tokens is None else min(max_tokens, left)


def _render(chat: Chat, model: LoadedModel, arguments: Mapping[str, Any]) -> list[int]:
    if not chat.turns:
        raise _invalid("the conversation has no messages")
    if not model.tokenizer.has_chat_template:
        raise _invalid(
            f"{model.card.id} has no chat template: send a plain prompt to the completions endpoint"
        )
    if chat.continues_last and chat.turns[-1].role != "assistant":
        raise _invalid("only a last message of the assistant can be continued")
    turns = [{"role": turn.role, "content": turn.text} for turn in chat.turns]
    try:
        return list(
            model.tokenizer.apply_chat_template(
                turns,
                add_generation_prompt=not chat.continues_last,
                continue_final_message=chat.continues_last,
                **chat.template_options,
                **arguments,
            )
        )
    except (TemplateError, ValueError, TypeError, KeyError) as rejected:
        raise _invalid(
            f"the model's chat template rejects this conversation: {rejected}"
        ) from rejected


def _encode(text: str, model: LoadedModel) -> list[int]:
    try:
        return list(model.tokenizer.encode(text))
    except (ValueError, TypeError) as unreadable:
        raise _invalid(f"the prompt is no valid text: {unreadable}") from unreadable


def _checked(ids: Sequence[int], vocab_size: int) -> list[int]:
    stranger = next((id for id in ids if not 0 <= id < vocab_size), None)
    if stranger is not None:
        raise _invalid(f"token {stranger} is not among the model's {vocab_size}")
    return list(ids)


def _invalid(message: str) -> MeshError:
    return MeshError(Code.INVALID_REQUEST, message, param="prompt")
