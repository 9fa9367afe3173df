"""What rank 0 has the other ranks do. Whatever it does with caches and passes of its own, they do
with theirs, in the same order.

Sequences go by numbers of the leader's. Of a request the others learn its tokens and nothing else.
"""

from msgspec import Struct, msgpack


class Act(Struct, frozen=True, array_like=True, tag=True):
    """One thing to be done."""


class Fetch(Act, frozen=True):
    """A new sequence, with what the prefix cache holds of its prompt."""

    number: int
    prompt: list[int]
    common: int
    """Of its first tokens, those that are not its owner's alone."""
    owner: bytes = b""
    """What the keys of all others are its owner's by, as a big-endian number; empty: nobody's."""
    session: str | None = None


class Taken(Struct, frozen=True, array_like=True):
    """A sequence's part of a chunk."""

    number: int
    done: int
    """Tokens that its cache holds before."""
    tokens: int


class Read(Act, frozen=True):
    """A chunk of prompts."""

    taken: list[Taken]


class KeepPrompt(Act, frozen=True):
    """Into the prefix cache, a prompt that was read to its end."""

    number: int


class Join(Act, frozen=True):
    """Sequences join the decoding batch, each with its first token."""

    numbers: list[int]
    tokens: list[int]
    limits: list[int]
    """Tokens that each may have, the first included."""


class Step(Act, frozen=True):
    """One token of every answer."""

    is_followed: bool = False
    """By another one, which is said with nothing before it: it can be begun unheard."""


class Leave(Act, frozen=True):
    """Sequences leave the decoding batch before their natural end."""

    numbers: list[int]


class Keep(Act, frozen=True):
    """Into the prefix cache, all that was computed of a sequence that goes."""

    number: int


class Drop(Act, frozen=True):
    """A sequence is gone, and what was computed of it."""

    number: int


class Resize(Act, frozen=True):
    """The prefix cache may take so much."""

    limit_bytes: int


class Rest(Act, frozen=True):
    """Nothing is to do until the leader says otherwise, on the bus: backends wait for a collective
    with a core at full speed.
    """


class End(Act, frozen=True):
    """No more will be said."""


AnyAct = Fetch | Read | KeepPrompt | Join | Step | Leave | Keep | Drop | Resize | Rest | End
_ACTS = msgpack.Decoder(list[AnyAct])


def encode(acts: list[AnyAct]) -> bytes:
    return msgpack.encode(acts)


def decode(body: bytes) -> list[AnyAct]:
    """Raises msgspec.DecodeError."""
    return _ACTS.decode(body)
