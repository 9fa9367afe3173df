"""What is kept of a request that its client may ask again, so that it is answered once."""

from msgspec import Struct

from proto.ids import GatewayId, RequestId
from proto.message import Message

KEPT_ANSWERS = "kept_answers"
"""The bucket of KeptAnswer, by a digest of the caller and its Idempotency-Key."""


class Answer(Struct, frozen=True, kw_only=True):
    """What the client was told; only what succeeded is kept."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


class KeptAnswer(Message, frozen=True, kw_only=True):
    """Who answers, or the answer. A request is never kept, only a digest of it."""

    question: bytes
    """Digest of path and body: the same key with another question is a mistake."""
    gateway: GatewayId
    boot: str
    """The life of the gateway that answers: if that is over, whoever asks next takes its place."""
    request: RequestId
    """By which engines know what is generated for it."""
    answer: Answer | None = None
    """None: not yet."""
