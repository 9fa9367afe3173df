"""From canonical turns to the messages that a chat template is given."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from proto.errors import Code, MeshError
from proto.prompt import Chat, Turn
from services.runner.engine.calls import told
from services.runner.engine.calls.family import family_of, knows_tools
from services.runner.engine.calls.schema import function
from services.runner.engine.loading import LoadedModel
from services.runner.engine.template import mentions

Message = dict[str, Any]
Content = Callable[[Turn], Any]
"""What a turn says: a string, or the parts that templates take instead."""


def words(turn: Turn) -> str:
    return turn.text


def words_only(model: str) -> Content:
    """For one that does not see."""

    def content(turn: Turn) -> str:
        if turn.images:
            raise MeshError(
                Code.UNSUPPORTED_PARAMETER,
                f"{model} does not see images: leave them out, or ask a model that does",
                param="messages",
            )
        return turn.text

    return content


def messages_of(
    chat: Chat, model: LoadedModel, content: Content = words
) -> tuple[list[Message], list[dict[str, Any]]]:
    """The conversation, and the tools in OpenAI's form.

    A model whose template knows no tools is told of them in the conversation.
    """
    tools = chat.tools if chat.tool_choice.mode != "none" else ()
    scribe = _Scribe(model, chat.turns, content)
    if knows_tools(model.tokenizer):
        return list(map(scribe.native, chat.turns)), list(map(function, tools))
    messages = told.gathered([scribe.told(turn) for turn in chat.turns])
    return told.with_tools(messages, tools, parallel=chat.tool_choice.parallel), []


class _Scribe:
    """Writes one conversation's turns down for one model."""

    def __init__(self, model: LoadedModel, turns: Sequence[Turn], content: Content) -> None:
        self._family = family_of(model.tokenizer)
        self._content = content
        self._keeps_calls = mentions(model.tokenizer, "tool_calls")
        calls = [call for turn in turns for call in turn.calls]
        self._names = {call.id: call.name for call in calls}
        self._ids = {
            call.id: self._family.id_in_prompt(call.id, call.name, number)
            for number, call in enumerate(calls)
        }

    def native(self, turn: Turn) -> Message:
        message = self._plain(turn)
        if turn.role == "tool":
            id = self._ids.get(turn.call_id) or self._family.id_in_prompt(turn.call_id, "", 0)
            message |= {"tool_call_id": id, "name": self._name(turn)}
        if turn.calls and self._keeps_calls:
            message["tool_calls"] = [
                {
                    "id": self._ids[call.id],
                    "type": "function",
                    "function": {"name": call.name, "arguments": _arguments(call.arguments)},
                }
                for call in turn.calls
            ]
        elif turn.calls:
            message["content"] = told.followed(message["content"], self._family.written(turn.calls))
        return message

    def told(self, turn: Turn) -> Message:
        message = self._plain(turn)
        if turn.calls:
            message["content"] = told.followed(message["content"], self._family.written(turn.calls))
        return told.result(message, self._name(turn)) if turn.role == "tool" else message

    def _plain(self, turn: Turn) -> Message:
        content = self._content(turn)
        if turn.is_error:
            content = told.followed("The tool failed:", content)
        message: Message = {"role": turn.role, "content": content}
        if turn.reasoning:
            # transformers gives it to templates under their other names for it, too.
            message["reasoning_content"] = turn.reasoning
        return message

    def _name(self, turn: Turn) -> str:
        return turn.name or self._names.get(turn.call_id, "")


def _arguments(source: str) -> Any:
    """As an object, as templates want them; the text itself where it is none."""
    try:
        arguments = json.loads(source or "{}")
    except (ValueError, RecursionError):
        return source
    return arguments if isinstance(arguments, dict) else source
