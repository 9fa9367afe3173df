"""Texts into rows of tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tokenizers import Encoding, Tokenizer
from transformers import AutoTokenizer

from services.runner.engine.embedding.row import Row
from services.runner.engine.not_loadable import NotLoadable


def load_tokenizer(folder: Path) -> Tokenizer:
    """Neither cuts nor fills up, whatever its file says. Raises NotLoadable."""
    path = folder / "tokenizer.json"
    try:
        if path.exists():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    except Exception as unreadable:
        raise NotLoadable(
            f"the tokenizer in {folder} cannot be read ({unreadable}): it needs tokenizer.json, "
            "or the files from which transformers makes one"
        ) from unreadable
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class TextRows:
    """A row for each text, with the special tokens that the model wants around it."""

    def __init__(self, tokenizer: Tokenizer, is_lower_case: bool = False) -> None:
        self._tokenizer = tokenizer
        self._is_lower_case = is_lower_case

    def of(self, texts: Sequence[str], with_specials: bool = True) -> list[Row]:
        given = [text.lower() for text in texts] if self._is_lower_case else list(texts)
        read = self._tokenizer.encode_batch(given, add_special_tokens=with_specials)
        return list(map(_row, read))

    def piece(self, id: int) -> bytes:
        """A token as the vocabulary writes it."""
        return str(self._tokenizer.id_to_token(id) or "").encode()

    def text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids)))


class PairRows(Protocol):
    """A row for each document, together with the query."""

    def of(self, query: str, documents: Sequence[str]) -> list[Row]: ...


class CrossEncoderPairs:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def of(self, query: str, documents: Sequence[str]) -> list[Row]:
        pairs = [(query, document) for document in documents]
        return list(map(_row, self._tokenizer.encode_batch(pairs)))


class PromptedPairs:
    """The instruction that Qwen3-Reranker was trained with, around each pair.

    https://huggingface.co/Qwen/Qwen3-Reranker-0.6B
    """

    BEFORE = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the "
        'Query and the Instruct provided. Note that the answer can only be "yes" or "no".'
        "<|im_end|>\n<|im_start|>user\n"
    )
    TASK = "Given a web search query, retrieve relevant passages that answer the query"
    AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._before, self._after = (self._ids([text])[0] for text in (self.BEFORE, self.AFTER))

    def of(self, query: str, documents: Sequence[str]) -> list[Row]:
        asked = f"<Instruct>: {self.TASK}\n<Query>: {query}\n<Document>: "
        middles = self._ids([asked + document for document in documents])
        rows = [self._before + middle + self._after for middle in middles]
        return [Row(ids, [0] * len(ids)) for ids in rows]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        read = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [list(encoding.ids) for encoding in read]


def shortened(tokenizer: Tokenizer, text: str, tokens: int) -> str:
    """The text up to the end of its so manieth token."""
    read = tokenizer.encode(text, add_special_tokens=False)
    return text if len(read.ids) <= tokens else text[: read.offsets[tokens - 1][1]]


def _row(read: Encoding) -> Row:
    return Row(list(read.ids), list(read.type_ids))
