"""Which engine a request goes to: asked by metadata, answered by names."""

from typing import Literal

from msgspec import Struct

from proto.ids import EngineId, ModelId, RequestId, SessionId
from proto.message import Message

Priority = Literal["interactive", "batch"]


class Prefix(Struct, frozen=True, array_like=True, gc=False):
    """A beginning of a prompt, told without its words."""

    digest: bytes
    chars: int
    """Its length; a token id counts as some characters, and so does a picture."""


class Schedule(Message, frozen=True, kw_only=True):
    """Ask the schedulers which engine should serve a request, by metadata only."""

    model: ModelId
    prompt_bytes: int = 0
    """Size of the prompt's text, a first guess of its cost."""
    prefix: tuple[Prefix, ...] = ()
    """Ever longer beginnings of the prompt, the last of them all of it."""
    priority: Priority = "interactive"
    session: SessionId | None = None
    request: RequestId = RequestId("")
    """Whose question it is."""
    waited_s: float = 0.0
    """How long the request has been asking."""
    local_only: bool = False
    """Only an engine may serve it that keeps what it is asked in the local network."""
    avoid: tuple[EngineId, ...] = ()
    """Engines that failed this request already; named again only if nothing else lives."""


class Candidate(Struct, frozen=True, kw_only=True):
    engine: EngineId
    boot: str
    """The engine process's boot id: another one means that what it knew is gone."""


class Scheduled(Message, frozen=True, kw_only=True, tag="scheduled"):
    """Engines to try, best first. None while the model is being loaded: ask again."""

    candidates: tuple[Candidate, ...] = ()
    waits_for: str = ""
    """What a client may be told while it waits, such as ``loading 40 %``; empty where there are
    candidates.
    """


class Want(Message, frozen=True, kw_only=True):
    """A request waits for a model that no engine serves. A scheduler says it to the leader, again
    and again as long as somebody waits: a wish that is not repeated is gone.
    """

    model: ModelId
    """Its id, whatever name the client used."""
    request: str
    """Whose wish it is, so that one that is repeated counts once."""
    waited_s: float = 0.0
    """How long it has waited."""
