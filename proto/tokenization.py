"""A prompt's tokens, told without generating any: counted, listed, and made text again."""

from proto.ids import GatewayId, KeyId, ModelId, RequestId
from proto.message import Message
from proto.prompt import Prompt


class CountTokens(Message, frozen=True, kw_only=True):
    """Ask an engine how many tokens a prompt is. Answered by ``Counted``."""

    model: ModelId
    prompt: Prompt
    gateway: GatewayId | None = None
    """Who gives out the prompt's pictures; None: it has none."""
    request: RequestId = RequestId("")
    """What follows is as ``Generate`` has it, and for upstreams."""
    key: KeyId = KeyId("")
    local_only: bool = False
    left_s: float | None = None


class Counted(Message, frozen=True, kw_only=True, tag="counted"):
    tokens: int


class Tokenize(Message, frozen=True, kw_only=True):
    """Ask an engine for a prompt's tokens. Answered by ``Tokenized``."""

    model: ModelId
    prompt: Prompt
    with_specials: bool = True
    """A plain text gets what the model wants at its beginning, such as a first token."""
    gateway: GatewayId | None = None
    """Who gives out the prompt's pictures; None: it has none."""


class Tokenized(Message, frozen=True, kw_only=True, tag="tokenized"):
    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()
    """Each token's own bytes."""


class Detokenize(Message, frozen=True, kw_only=True):
    """Ask an engine for the text of tokens. Answered by ``Detokenized``."""

    model: ModelId
    tokens: tuple[int, ...]


class Detokenized(Message, frozen=True, kw_only=True, tag="detokenized"):
    text: str
