"""Blocks of thinking in OpenAI's dialect: ``reasoning_details``, as OpenRouter has them.

An upstream takes its thoughts back only as they were. Clients hand this list back with the message
it came in. https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from proto.prompt import Thought, kept

SIGNED = "anthropic-claude-v1"
"""Who signs and seals so."""
WRAPPED = "odyssai.detail."
"""Begins a seal that holds a whole detail in the format of another vendor, which goes back to it as
it was, whatever dialect the client speaks.
"""

Detail = dict[str, Any]
"""``reasoning.text`` or ``reasoning.encrypted``, or whatever another vendor wrote into it."""


def detail_of(thought: Thought, index: int) -> Detail:
    if thought.sealed.startswith(WRAPPED) and (foreign := _unwrapped(thought.sealed)):
        return foreign
    common = {"format": SIGNED, "index": index}
    if thought.sealed:
        return {"type": "reasoning.encrypted", "data": thought.sealed, **common}
    signed = {"signature": thought.signature} if thought.signature else {}
    return {"type": "reasoning.text", "text": thought.text, **signed, **common}


def details_of(thoughts: Sequence[Thought]) -> list[Detail]:
    return [detail_of(thought, index) for index, thought in enumerate(thoughts)]


def thoughts_of(details: Any) -> tuple[Thought, ...]:
    """What clients sent back; also those that kept every piece of a stream as a detail of its own.
    What cannot be read is left out: it was never a part of the answer.
    """
    thoughts: list[Thought] = []
    pieces: list[str] = []
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        if detail.get("type") == "reasoning.encrypted" and isinstance(detail.get("data"), str):
            thoughts += _unsigned(pieces)
            is_plain = detail.get("format") in (None, SIGNED)
            thoughts.append(Thought(sealed=detail["data"] if is_plain else _wrapped(detail)))
        elif detail.get("type") == "reasoning.text" and detail.get("format") in (None, SIGNED):
            pieces.append(_word(detail, "text"))
            if signature := _word(detail, "signature"):
                thoughts.append(Thought(text="".join(pieces), signature=signature))
                pieces.clear()
    return kept([*thoughts, *_unsigned(pieces)])


def text_of(thoughts: Iterable[Thought]) -> str:
    return "\n".join(thought.text for thought in thoughts if thought.text)


def _wrapped(detail: dict[str, Any]) -> str:
    return WRAPPED + urlsafe_b64encode(msgspec.json.encode(detail)).decode()


def _unwrapped(sealed: str) -> dict[str, Any] | None:
    """None where somebody changed it."""
    try:
        found = msgspec.json.decode(urlsafe_b64decode(sealed.removeprefix(WRAPPED)))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unsigned(pieces: list[str]) -> list[Thought]:
    text = "".join(pieces)
    pieces.clear()
    return [Thought(text=text)] if text else []


def _word(detail: dict[str, Any], name: str) -> str:
    found = detail.get(name)
    return found if isinstance(found, str) else ""
