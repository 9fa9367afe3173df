"""Other ways to say the same conversation, for chat templates that reject it as it stands."""

from collections.abc import Callable, Iterator
from typing import Any

from services.runner.engine.calls.told import followed

Message = dict[str, Any]


def adapted(messages: list[Message]) -> Iterator[list[Message]]:
    """Ever freer forms of the conversation; each differs from the one before."""
    for adapt in _ADAPTATIONS:
        freer = adapt(messages)
        if freer != messages:
            yield freer
        messages = freer


def _merged(messages: list[Message]) -> list[Message]:
    """Turns of one role in a row are one, where roles must alternate."""
    out: list[Message] = []
    for message in messages:
        if out and _are_alike(out[-1], message):
            content = followed(out[-1]["content"], message["content"], "\n\n")
            out[-1] = {**out[-1], "content": content}
        else:
            out.append(message)
    return out


def _are_alike(message: Message, other: Message) -> bool:
    has_more = any("tool_calls" in each or each["role"] == "tool" for each in (message, other))
    return bool(message["role"] == other["role"]) and not has_more


def _called_plainly(messages: list[Message]) -> list[Message]:
    """Calls without the thoughts before them, and with an object of arguments in any case."""
    return [
        {"role": message["role"], "content": message["content"], "tool_calls": calls}
        if (calls := [_plain_call(call) for call in message.get("tool_calls", ())])
        else message
        for message in messages
    ]


def _plain_call(call: dict[str, Any]) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    if isinstance(arguments, dict):
        return call
    return {**call, "function": {**call["function"], "arguments": {"unreadable": arguments}}}


def _answered(messages: list[Message]) -> list[Message]:
    """What the user says right after a tool's result is part of it: nobody answered in between."""
    out: list[Message] = []
    for message in messages:
        if message["role"] == "user" and out and out[-1]["role"] == "tool":
            content = followed(out[-1]["content"], message["content"], "\n\n")
            out[-1] = {**out[-1], "content": content}
        else:
            out.append(message)
    return out


def _led(messages: list[Message]) -> list[Message]:
    """Only the first turn may be the system's: later ones become the user's."""
    return [*messages[:1], *_without_system(messages[1:])]


def _without_system(messages: list[Message]) -> list[Message]:
    users = [{**m, "role": "user"} if m["role"] == "system" else m for m in messages]
    return _merged(users)


def _without_tools(messages: list[Message]) -> list[Message]:
    """Results of tools become the user's words."""
    return _merged(
        [{"role": "user", "content": m["content"]} if m["role"] == "tool" else m for m in messages]
    )


_ADAPTATIONS: tuple[Callable[[list[Message]], list[Message]], ...] = (
    _called_plainly,
    _merged,
    _answered,
    _led,
    _without_system,
    _without_tools,
)
