"""A model's chat template, run within bounds: it comes with the model, from whomever.

transformers prepares a conversation for it and reads what it made; the template itself is run in
a process of its own, where jinja's immutable sandbox bounds what it touches and the system for how
long, and with how much memory.
"""

from typing import Any

from mlx_lm.tokenizer_utils import TokenizerWrapper
from transformers.utils import chat_template_utils

from services.runner.engine.typesetter import Excessive, Typesetter
from services.runner.engine.typesetting import Asked

RENDERING_S = 5.0
"""A thousand times what most conversations take."""
MOST_CHARS = 1 << 24
"""Of a rendered conversation: eight times what a gateway lets in."""

_typesetter = Typesetter()


def render(tokenizer: TokenizerWrapper, messages: list[dict[str, Any]], **options: Any) -> str:
    """Raises Excessive, and whatever the template raises, which may be code."""
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    if len(text) > MOST_CHARS:
        raise Excessive(f"it makes {len(text)} characters, and {MOST_CHARS} are the most")
    return text


class _Template:
    """What transformers takes for a template that jinja compiled."""

    def __init__(self, source: str) -> None:
        self._source = source

    def render(self, **given: Any) -> str:
        return _typesetter.text(Asked(self._source, given, RENDERING_S, MOST_CHARS))


# transformers 5 leaves no other way; tests/unit/engine/test_rendering.py notices when it is none.
chat_template_utils._compile_jinja_template = _Template  # type: ignore[assignment]
