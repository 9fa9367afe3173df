"""What clients of vLLM and of llama.cpp send to /tokenize and /detokenize, in one form."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from proto.dialects import openai
from proto.dialects.asked import Name, decode, invalid, unsupported
from proto.prompt import Prompt, Text

TokenId = Annotated[int, Meta(ge=0, lt=2**31)]


class TokenizeRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /tokenize: of a text, or of a conversation as the model's template renders it."""

    model: Name | None = None
    """May be left out where there is one model only."""
    prompt: str | None = None
    content: str | None = None
    """llama.cpp's name for a prompt; without special tokens unless they are asked for."""
    messages: list[dict[str, Any]] | None = None
    """In the form of /v1/chat/completions."""
    tools: list[dict[str, Any]] | None = None
    add_special_tokens: bool | None = None
    """Whether a text gets what the model wants at its beginning. Default: true for a prompt."""
    add_special: bool | None = None
    """llama.cpp's name for it."""
    add_generation_prompt: bool | None = None
    return_token_strs: bool | None = None

    def read(self) -> Prompt:
        """Raises MeshError unless there is one thing to read."""
        given = [self.prompt, self.content, self.messages]
        if sum(thing is not None for thing in given) != 1:
            raise invalid("Send either `prompt`, `content` or `messages`.", "prompt")
        if self.messages is None:
            return Text(text=self.prompt or self.content or "")
        if self.add_generation_prompt is False:
            raise unsupported(
                "add_generation_prompt", "the answer's beginning is always there; leave it out"
            )
        chat = {"model": self.model or "any", "messages": self.messages}
        if self.tools is not None:
            chat["tools"] = self.tools
        return openai.asked_chat(msgspec.json.encode(chat)).prompts[0]

    @property
    def wants_specials(self) -> bool:
        for told in (self.add_special_tokens, self.add_special):
            if told is not None:
                return told
        return self.content is None


class Tokenization(Struct, frozen=True, kw_only=True):
    count: int
    max_model_len: int
    """Tokens of prompt and answer together that the model reads."""
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """POST /detokenize."""

    model: Name | None = None
    """May be left out where there is one model only."""
    tokens: list[TokenId]


class Detokenization(Struct, frozen=True):
    """The same text twice: the first is vLLM's name for it, the second llama.cpp's."""

    prompt: str
    content: str


_TOKENIZE = msgspec.json.Decoder(TokenizeRequest)
_DETOKENIZE = msgspec.json.Decoder(DetokenizeRequest)


def asked_tokens(body: bytes) -> TokenizeRequest:
    """Raises MeshError."""
    return decode(_TOKENIZE, body, {})


def asked_text(body: bytes) -> DetokenizeRequest:
    """Raises MeshError."""
    return decode(_DETOKENIZE, body, {})
