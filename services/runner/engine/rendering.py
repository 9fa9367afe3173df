"""A model's chat template, run within bounds: it comes with the model, from whomever.

transformers runs it in jinja's immutable sandbox, which bounds what it touches; time and size are
bounded here.
"""

from typing import Any

from jinja2 import TemplateError
from mlx_lm.tokenizer_utils import TokenizerWrapper

from services.runner.engine.patience import OutOfPatience, patience

RENDERING_S = 5.0
"""A thousand times what most conversations take."""
MOST_CHARS = 1 << 24
"""Of a rendered conversation: eight times what a gateway lets in."""


class Excessive(TemplateError):
    """The template runs for too long, or says too much."""


def render(tokenizer: TokenizerWrapper, messages: list[dict[str, Any]], **options: Any) -> str:
    """Raises Excessive, and whatever the template raises, which may be code."""
    try:
        with patience(RENDERING_S):
            text = str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    except OutOfPatience as endless:
        raise Excessive(
            f"it did not come to an end within {RENDERING_S:g} s; send fewer messages, or choose "
            "another model"
        ) from endless
    except MemoryError as endless:
        raise Excessive("it takes more memory than there is; choose another model") from endless
    if len(text) > MOST_CHARS:
        raise Excessive(f"it makes {len(text)} characters, and {MOST_CHARS} are the most")
    return text
