"""What a model's chat template knows of, told by its source."""

from mlx_lm.tokenizer_utils import TokenizerWrapper
from transformers import PreTrainedTokenizerBase


def mentions(tokenizer: TokenizerWrapper, word: str) -> bool:
    """Whether the template uses the word. One written as code is taken to know all of them."""
    source = _source(tokenizer)
    return source is None or word in source


def _source(tokenizer: TokenizerWrapper) -> str | None:
    """None where code takes the template's place."""
    own = type(tokenizer._tokenizer).apply_chat_template
    if (
        tokenizer._chat_template is not None
        or own is not PreTrainedTokenizerBase.apply_chat_template
    ):
        return None
    templates = tokenizer.chat_template
    if isinstance(templates, dict):
        return "\n".join(templates.values())
    return templates or ""
