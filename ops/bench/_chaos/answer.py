"""What one exchange said: text by channel, and what it all came to."""

from typing import Literal

from msgspec import Struct, field

Dialect = Literal["chat", "messages", "responses"]
CONTENT, REASONING = "content", "reasoning"


class Answer(Struct, kw_only=True):
    """Grows while it is read. ``is_whole`` once the dialect's own end was there."""

    id: str = ""
    said: dict[str, str] = field(default_factory=dict)
    """By channel: content, reasoning, and each call by its number."""
    names: dict[str, str] = field(default_factory=dict)
    """Of the functions that calls are of, by channel."""
    logprobs: list[tuple[str, float]] = field(default_factory=list)
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ends: int = 0
    """How often its end, with the usage, was told."""
    is_whole: bool = False


class Failure(Exception):
    """The answer is an error, with its status (200 within a stream) and its words."""

    def __init__(self, status: int, said: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status
        self.retry_after_s = retry_after_s


class Broken(Exception):
    """The connection ended before the answer did."""
