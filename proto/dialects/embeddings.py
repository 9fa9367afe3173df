"""What OpenAI's clients send to /v1/embeddings, and what they are answered.

https://platform.openai.com/docs/api-reference/embeddings
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from proto.dialects.asked import Name, NonEmpty, decode, invalid
from proto.embedding import Side
from proto.prompt import Text, Tokens

MOST_INPUTS = 2048

TokenId = Annotated[int, Meta(ge=0, lt=2**31)]
Input = Text | Tokens


class EmbeddingsRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/embeddings. ``null`` is the same as leaving a field out."""

    model: Name
    input: (
        NonEmpty
        | Annotated[
            list[NonEmpty | TokenId | Annotated[list[TokenId], Meta(min_length=1)]],
            Meta(min_length=1),
        ]
    )
    """One text or many, as text or as token ids of the model."""
    encoding_format: Literal["float", "base64"] | None = None
    """base64: of float32 numbers, little endian."""
    dimensions: Annotated[int, Meta(ge=1, lt=2**31)] | None = None
    """So many of the vector's first numbers, made of length 1 again. Default: all."""
    user: str | None = None
    input_type: Side | None = None
    """Ours: the side of a search that the texts are on, for models with a prompt for each."""
    truncate: bool | None = None
    """Ours: cut what is longer than the model reads; left out, it is refused."""

    def inputs(self) -> tuple[Input, ...]:
        """Raises MeshError."""
        if isinstance(self.input, str):
            return (Text(text=self.input),)
        texts = [item for item in self.input if isinstance(item, str)]
        ids = [item for item in self.input if isinstance(item, int)]
        lists = [item for item in self.input if isinstance(item, list)]
        if len(ids) == len(self.input):
            return (Tokens(ids=tuple(ids)),)
        if len(self.input) > MOST_INPUTS:
            raise invalid(
                f"`input` has {len(self.input)} texts, {MOST_INPUTS} are the most; send fewer at a "
                "time.",
                "input",
            )
        if len(texts) == len(self.input):
            return tuple(Text(text=text) for text in texts)
        if len(lists) == len(self.input):
            return tuple(Tokens(ids=tuple(ids)) for ids in lists)
        raise invalid(
            "`input` mixes kinds; send a string, strings, token ids or lists of token ids.", "input"
        )


class Vector(Struct, frozen=True, kw_only=True):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    """Numbers, or base64 of them as float32, little endian."""


class EmbeddingsUsage(Struct, frozen=True):
    prompt_tokens: int
    """Special tokens included."""
    total_tokens: int


class EmbeddingsAnswer(Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Vector]
    model: str
    usage: EmbeddingsUsage


_EMBEDDINGS = msgspec.json.Decoder(EmbeddingsRequest)


def asked_embeddings(body: bytes) -> EmbeddingsRequest:
    """Raises MeshError."""
    return decode(_EMBEDDINGS, body, {})
