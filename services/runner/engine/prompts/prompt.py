"""From a canonical prompt to the model's tokens, and whether they leave room for an answer."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from jinja2 import TemplateError

from proto.errors import Code, MeshError
from proto.prompt import Chat, Prompt, Text, Tokens
from services.runner.engine.calls.schema import typed_function
from services.runner.engine.loading import LoadedModel
from services.runner.engine.prompts.adapting import adapted
from services.runner.engine.prompts.messages import Content, messages_of, words, words_only
from services.runner.engine.rendering import render
from services.runner.engine.typesetter import Excessive
from services.runner.engine.vision import prompt as vision
from services.runner.engine.vision.picture import Picture
from services.runner.engine.vision.sight import Sight

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]]
_REJECTIONS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TemplateError,
    TypeError,
    ValueError,
)
"""What templates raise, also those that are code."""


def tokens_of(
    prompt: Prompt, model: LoadedModel, template_arguments: Mapping[str, Any] = MappingProxyType({})
) -> list[int]:
    """``template_arguments`` are what the engine itself gives the chat template, by name."""
    match prompt:
        case Chat():
            content = words_only(model.card.id) if model.eyes is None else model.eyes.manner.content
            text = rendered(prompt, model, template_arguments, content)
            tokens = _encode(text, model, add_special_tokens=False)
        case Text(text=text):
            tokens = _encode(text, model)
        case Tokens(ids=ids):
            tokens = _checked(ids, model.vocab_size)
    if not tokens:
        raise _invalid("the prompt is empty")
    return tokens


def tokens_and_sight(
    chat: Chat,
    pictures: Sequence[Picture],
    model: LoadedModel,
    template_arguments: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[list[int], Sight]:
    """Of a chat with pictures, which are given in its order, for a model that sees."""
    eyes = model.eyes
    assert eyes is not None, "only a model that sees is given pictures"

    def text_of(chat: Chat, is_spelled: bool) -> str:
        content = partial(eyes.manner.content, is_spelled=is_spelled)
        return rendered(chat, model, template_arguments, content)

    return vision.tokens_and_sight(chat, pictures, eyes, text_of)


def room(prompt_tokens: int, max_tokens: int | None, context_length: int, made_for: int = 0) -> int:
    """How many tokens the answer may have: what was asked for, within what the context leaves.

    ``made_for`` is the context that the model could be loaded with.
    """
    left = context_length - prompt_tokens
    if left < (max_tokens != 0):
        holds, cure = "the model's context holds", "shorten the prompt"
        if made_for > context_length:
            holds = f"of the model's context of {made_for} tokens it was loaded with"
            cure += ", or load the model with more (`odyssai load --context`)"
        raise MeshError(
            Code.CONTEXT_OVERFLOW,
            f"the prompt has {prompt_tokens} tokens and {holds} "
            f"{context_length}, the answer included: {cure}",
        )
    return left if max_tokens is None else min(max_tokens, left)


def rendered(
    chat: Chat,
    model: LoadedModel,
    template_arguments: Mapping[str, Any] = MappingProxyType({}),
    content: Content = words,
) -> str:
    """The conversation by the model's own template. MeshError when it takes it in no form.

    ``content`` says what of a turn is given to the template as its content.
    """
    if not chat.turns:
        raise _invalid("the conversation has no messages")
    if not model.tokenizer.has_chat_template:
        raise _invalid(
            f"{model.card.id} has no chat template: send a plain prompt to the completions endpoint"
        )
    if chat.continues_last and chat.turns[-1].role != "assistant":
        raise _invalid("only a last message of the assistant can be continued")
    options = {
        **chat.template_options,
        **template_arguments,
        "add_generation_prompt": not chat.continues_last,
        "continue_final_message": chat.continues_last,
    }
    first: Exception | None = None
    for messages, tools in _forms(chat, model, content):
        given = options | {"tools": tools} if tools else options
        if model.eyes is not None:
            messages = model.eyes.manner.fitted(messages)
        try:
            return render(model.tokenizer, messages, **given)
        except Excessive as excessive:
            first = excessive
            break
        except _REJECTIONS as rejected:
            first = first or rejected
    raise _invalid(f"the model's chat template rejects this conversation: {first}") from first


def _forms(chat: Chat, model: LoadedModel, content: Content) -> Iterator[tuple[Messages, Tools]]:
    """The conversation as it stands, then as other templates want it."""
    messages, tools = messages_of(chat, model, content)
    yield messages, tools
    for form in adapted(messages):
        messages = form
        yield messages, tools
    if tools:
        yield messages, list(map(typed_function, chat.tools))


def _encode(text: str, model: LoadedModel, **options: Any) -> list[int]:
    try:
        return list(model.tokenizer.encode(text, **options))
    except (ValueError, TypeError) as unreadable:
        raise _invalid(f"the prompt is no valid text: {unreadable}") from unreadable


def _checked(ids: Sequence[int], vocab_size: int) -> list[int]:
    stranger = next((id for id in ids if not 0 <= id < vocab_size), None)
    if stranger is not None:
        raise _invalid(f"token {stranger} is not among the model's {vocab_size}")
    return list(ids)


def _invalid(message: str) -> MeshError:
    return MeshError(Code.INVALID_REQUEST, message, param="prompt")
