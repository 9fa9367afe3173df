"""One request's text: tokens in, text out, up to a stop string.

mlx-lm's own streaming detokenisers hold text back for as long as its bytes are
no valid UTF-8, without bound; here a broken byte becomes U+FFFD at once and
only the beginning of a character is waited for.
"""

import codecs
from typing import Protocol

from mlx_lm.generate import TextStateMachine
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

    def detokenizer(self) -> "_Detokenizer":
        return _Bytes(self) if self.are_exact else _Words(self._tokenizer)

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


class _Detokenizer(Protocol):
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


class Transcript:
    """The answer as text. ``before`` is the prompt's last token, to which the answer joins."""

    def __init__(self, pieces: Pieces, before: int, stops: tuple[str, ...] = ()) -> None:
        self._detokenizer = pieces.detokenizer()
        # A detokeniser drops the space in front of the first word that it sees.
        self._detokenizer.push(before)
        self._stop = _Stop(stops) if (stops := tuple(filter(None, stops))) else None
        self.push = self._push if self._stop else self._push_freely
        """One more token: the text now certain, and the stop string if it was met."""

    def _push_freely(self, token: int) -> tuple[str, str | None]:
        return self._detokenizer.push(token), None

    def _push(self, token: int) -> tuple[str, str | None]:
        assert self._stop is not None, "without stop strings push is _push_freely"
        return self._stop.push(self._detokenizer.push(token))

    def finish(self) -> tuple[str, str | None]:
        """What was held back: a broken character, or the beginning of a stop that never came."""
        text = self._detokenizer.finish()
        if self._stop is None:
            return text, None
        text, met = self._stop.push(text)
        return (text, met) if met else (text + self._stop.flush(), None)


class _Stop:
    """Lets text through up to the first stop string; holds back what may be the start of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._state = TextStateMachine({"normal": [(stop, None) for stop in stops]}).make_state()
        self._longest_start = max(map(len, stops)) - 1

    def push(self, text: str) -> tuple[str, str | None]:
        if not text:
            return "", None
        whole = self._state[3] + text
        self._state, passed, state = TextStateMachine.step(self._state, text)
        if state is None:
            rest = self._state[3]
            return passed, whole[len(passed) : len(whole) - len(rest)]
        return passed + self._release(), None

    def _release(self) -> str:
        """The state machine holds text until no stop can begin in it; no start is that long."""
        name, node, states, held = self._state
        surplus = max(0, len(held) - self._longest_start)
        self._state = (name, node, states, held[surplus:])
        return str(held[:surplus])

    def flush(self) -> str:
        held: str = self._state[3]
        return held
