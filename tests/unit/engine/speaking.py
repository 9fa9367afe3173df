"""Answers written as text: chunks stand for tokens, so that markers fall where a test wants."""

from collections.abc import Iterable
from typing import Any

from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, TokenizerWrapper

from proto.ids import RequestId
from services.runner.engine.answer.channels import Channels, Said
from services.runner.engine.answer.markup import Markup, markup_of
from services.runner.engine.calls.family import Family, family_of

HERMES = Family("json_tools", "<tool_call>", "</tool_call>")


class Chunks:
    """What a ``Pieces`` is to an answer, with a chunk of text for each token."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = list(texts)

    def detokenizer(self, before: int) -> "Chunks":
        return self

    def push(self, token: int) -> str:
        return self._texts[token]

    def finish(self) -> str:
        return ""


def wrapped(tokenizer: TokenizerWrapper, *markers: str, **settings: Any) -> TokenizerWrapper:
    """The tokenizer with markers of a reasoner, each a token of its own."""
    plain = type(tokenizer._tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
    plain.add_tokens(list(markers))
    plain.eos_token = "<|im_end|>"
    return TokenizerWrapper(plain, BPEStreamingDetokenizer, **settings)


def markup(tokenizer: TokenizerWrapper) -> Markup:
    return markup_of(tokenizer, family_of(tokenizer))


def answer(
    chunks: Iterable[str],
    marked: Markup,
    state: str = "normal",
    stops: tuple[str, ...] = (),
    tools: Any = None,
    family: Family = HERMES,
    **settings: Any,
) -> Channels:
    reader = family.reader(tools, RequestId("r")) if tools is not None else None
    machine = marked.machine(calls=tools is not None)
    assert machine is not None
    return Channels(Chunks(chunks), 0, stops, machine, state, reader, **settings)  # type: ignore[arg-type]


class Heard:
    """All of an answer's channels, put together."""

    def __init__(self, spoken: Channels, chunks: int, *, is_cut: bool = False) -> None:
        self.content = self.reasoning = self.stop = ""
        self.calls: list[tuple[str, str]] = []
        self.reason = "length" if is_cut else "stop"
        for token in range(chunks):
            is_last = is_cut and token == chunks - 1
            pieces, over = spoken.last(token) if is_last else spoken.push(token)
            self._hear(pieces)
            if over is not None:
                self._end(spoken, over)
                return
        if not is_cut:
            pieces, over = spoken.finish()
            self._hear(pieces)
            if over is not None:
                self._end(spoken, over)
            elif spoken.calls:
                self.reason = "tool_calls"
        self.reasoning_tokens = spoken.reasoning_tokens

    def _end(self, spoken: Channels, over: Any) -> None:
        self.reason, self.stop = over.reason, over.stop or ""
        self.reasoning_tokens = spoken.reasoning_tokens

    def _hear(self, pieces: Any) -> None:
        for piece in pieces:
            if isinstance(piece, Said):
                assert piece.text, "an empty piece says nothing"
                if piece.channel == "content":
                    self.content += piece.text
                else:
                    self.reasoning += piece.text
            elif piece.call == len(self.calls):
                assert piece.id
                assert piece.name
                self.calls.append((piece.name, piece.arguments))
            else:
                name, arguments = self.calls[piece.call]
                self.calls[piece.call] = name, arguments + piece.arguments

    @property
    def all(self) -> tuple[object, ...]:
        return self.content, self.reasoning, self.calls, self.reason, self.stop
