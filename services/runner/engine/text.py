"""From tokens to text.

mlx-lm's own streaming detokenisers hold text back for as long as its bytes are
no valid UTF-8, without bound; here a broken byte becomes U+FFFD at once and
only the beginning of a character is waited for.
"""

import codecs
from typing import Protocol

from mlx_lm.tokenizer_utils import (
    BPEStreamingDetokenizer,
    SPMStreamingDetokenizer,
    TokenizerWrapper,
    _byte_decoder,
)

HOLD_TOKENS = 8
"""A detokeniser that looks at whole words may wait this long for a character's last token."""
_UTF8 = codecs.getincrementaldecoder("utf-8")
_SPACE = "\u2581"


class Pieces:
    """The bytes of each token, worked out when first needed. One per model."""

    def __init__(self, tokenizer: TokenizerWrapper) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bytes] = {}
        self._literal = set(tokenizer.get_added_vocab().values())
        kind = type(tokenizer.detokenizer)
        self._is_byte_level = kind is BPEStreamingDetokenizer
        self.are_exact = kind in (BPEStreamingDetokenizer, SPMStreamingDetokenizer)
        """The bytes of an answer are those of its tokens, joined."""

    def __getitem__(self, token: int) -> bytes:
        piece = self._known.get(token)
        if piece is None:
            piece = self._known[token] = self._bytes_of(token)
        return piece

    def detokenizer(self, before: int) -> "Detokenizer":
        """For what follows the token ``before``."""
        made = _Bytes(self) if self.are_exact else _Words(self._tokenizer)
        made.push(before)  # A detokeniser drops the space in front of the first word that it sees.
        return made

    def _bytes_of(self, token: int) -> bytes:
        if token >= len(self._tokenizer):
            return b""  # A padded vocabulary has more rows than tokens.
        if not self.are_exact:
            return str(self._tokenizer.decode([token])).encode()
        word = self._tokenizer.convert_ids_to_tokens(token)
        if word is None:
            return b""
        if token in self._literal:
            return str(word).encode()
        return _byte_level(word) if self._is_byte_level else _sentence_piece(word)


def _byte_level(word: str) -> bytes:
    letters = _byte_decoder()
    if all(letter in letters for letter in word):
        return bytes(letters[letter] for letter in word)
    return word.encode()


def _sentence_piece(word: str) -> bytes:
    if len(word) == 6 and word.startswith("<0x"):
        return bytes([int(word[3:5], 16)])
    return word.replace(_SPACE, " ").encode()


class Detokenizer(Protocol):
    def push(self, token: int) -> str: ...

    def finish(self) -> str: ...


class _Bytes:
    """Joins the tokens' bytes; holds back at most the three that may begin a character."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._decode = _UTF8("replace").decode

    def push(self, token: int) -> str:
        return self._decode(self._pieces[token])

    def finish(self) -> str:
        return self._decode(b"", True)


class _Words:
    """mlx-lm's detokeniser for tokenisers whose text is not their tokens' bytes, joined."""

    def __init__(self, tokenizer: TokenizerWrapper) -> None:
        self._inner = tokenizer.detokenizer
        self._silent = 0

    def push(self, token: int) -> str:
        self._inner.add_token(token)
        text: str = self._inner.last_segment
        self._silent = 0 if text else self._silent + 1
        return text if self._silent < HOLD_TOKENS else self.finish()

    def finish(self) -> str:
        self._silent = 0
        self._inner.finalize()
        text: str = self._inner.last_segment
        return text
