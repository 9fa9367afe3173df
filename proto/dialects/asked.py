"""What every dialect comes down to: what a client asked for, and what it is answered."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
from msgspec import Meta, Struct

from proto.dialects.nesting import MOST, is_flat
from proto.errors import Code, MeshError
from proto.format import Format
from proto.frames import End, PositionLogprobs
from proto.generation import Generate, Privacy, Sampling, Tier, Verbatim
from proto.ids import GatewayId, KeyId, ModelId, RequestId, SessionId
from proto.placement import Priority
from proto.prompt import CacheMark, Prompt, Thought, ToolCall

R = TypeVar("R")

WAITING = b": waiting\n\n"
"""A comment in a stream of server-sent events: a sign of life that no client takes for content."""

LARGEST = 2**53
"""Whole numbers beyond this are not the same in every JSON reader."""

BATCH_TIERS = ("flex", "batch")
"""Service tiers of work that may wait."""
Empty = Annotated[list[Any], Meta(max_length=0)]
"""A list that may only be empty, since nothing in it could be honoured yet."""
NonEmpty = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(min_length=1, max_length=512)]
"""Of a model, a session, a call: it travels through the mesh, and stands in messages for people."""
Count = Annotated[int, Meta(ge=1, le=LARGEST)]
Ignored = str | int | float | bool | list[Any] | dict[str, Any] | None
"""Anything: it has no bearing on the tokens."""


class Asked(Struct, frozen=True, kw_only=True):
    """One HTTP request in canonical words: every prompt answered ``n`` times."""

    model: ModelId
    """What serves it; empty where the client names none."""
    called: str = ""
    """What the client calls the model, where the operator gave it that name."""
    prompts: tuple[Prompt, ...]
    n: int = 1
    sampling: Sampling = Sampling()
    given: frozenset[str] = frozenset()
    """The fields of ``sampling`` that are the client's own word."""
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    session: SessionId | None = None
    format: Format | None = None
    stream: bool = False
    include_usage: bool = False
    """A stream ends with a chunk that holds the usage."""
    ignored: tuple[str, ...] = ()
    """Fields that were taken and have no effect; the answer's headers name them."""
    shows_reasoning: bool = True
    """What was thought is part of the answer."""
    calls_functions: bool = False
    """The answer has OpenAI's older form of a call, of which there is one at most."""
    priority: Priority = "interactive"
    key: KeyId = KeyId("")
    """Whose share of an engine it takes."""
    weight: float = 1.0
    """How large that share is beside others'."""
    privacy: Privacy = Privacy()
    local_only: bool = False
    """It must not leave the local network."""
    fallbacks: tuple["Asked", ...] = ()
    """The same for other models, to be asked in turn when this one cannot take it."""
    hops: int = 0
    """Other meshes that it came through."""
    echo: bool = False
    """Every choice begins with the text of its prompt."""
    user: str = ""
    """Who the client says that it asks for."""
    tier: Tier = ""
    verbatim: Verbatim | None = None
    """The request as it came, for an upstream that speaks its dialect."""

    @property
    def name(self) -> str:
        """Of the model, as the answer says it: as the client did."""
        return self.called or self.model

    @property
    def choices(self) -> int:
        return len(self.prompts) * self.n

    def generate(
        self, choice: int, request: RequestId, gateway: GatewayId, left_s: float | None
    ) -> Generate:
        """What to ask an engine for one of the choices."""
        sampling = self.sampling
        if choice and sampling.seed is not None:
            # One seed for all would give n times the same answer.
            sampling = msgspec.structs.replace(sampling, seed=(sampling.seed + choice) % 2**63)
        return Generate(
            request=request,
            gateway=gateway,
            model=self.model,
            prompt=self.prompts[choice // self.n],
            sampling=sampling,
            max_tokens=self.max_tokens,
            stop=self.stop,
            logprobs=self.logprobs,
            session=self.session,
            format=self.format,
            left_s=left_s,
            key=self.key,
            weight=self.weight,
            priority=self.priority,
            privacy=self.privacy,
            local_only=self.local_only,
            hops=self.hops,
            user=self.user,
            tier=self.tier,
            verbatim=self.verbatim,
        )


def given(request: Any) -> frozenset[str]:
    """Which fields of sampling a request sets, null being the same as leaving it out."""
    return frozenset(
        name for name in Sampling.__struct_fields__ if getattr(request, name, None) is not None
    )


class Answered(Struct, frozen=True, kw_only=True):
    """One choice, complete."""

    text: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[PositionLogprobs, ...] = ()
    """Of the text's tokens; what was thought or called has none."""
    thoughts: tuple[Thought, ...] = ()
    """The blocks of ``reasoning`` where an upstream signed or sealed one of them."""
    words: bytes = b""
    """The answer as an upstream gave it, all else being empty."""
    end: End


def mark(cache_control: Any) -> CacheMark:
    """What a client's ``cache_control`` comes to. What is none is no mark: it is a hint."""
    if not isinstance(cache_control, dict) or cache_control.get("type") != "ephemeral":
        return ""
    return "1h" if cache_control.get("ttl") == "1h" else "5m"


def tier(named: str | None) -> Priority:
    """What OpenAI's ``service_tier`` comes to: cheap tiers are for work that may wait."""
    return "batch" if named in BATCH_TIERS else "interactive"


def decode(decoder: msgspec.json.Decoder[R], body: bytes, not_yet: Mapping[str, str]) -> R:
    """The request in a body. Raises MeshError that names the field at fault.

    ``not_yet`` says for fields whose types leave room for nothing but their off
    value what to do instead; its keys are paths without indexes.
    """
    try:
        found = decoder.decode(body)
    except msgspec.ValidationError as error:
        _explain(str(error), not_yet)
    except UnicodeDecodeError as error:
        raise invalid(f"The body is not UTF-8 (byte {error.start}); send UTF-8 JSON.") from None
    except msgspec.DecodeError as error:
        raise invalid(f"The body is not JSON: {error}. Send one JSON object.") from None
    except RecursionError:
        raise _too_deep() from None
    if not is_flat(body):
        raise _too_deep()
    return found


def _too_deep() -> MeshError:
    return invalid(f"The body has more than {MOST} levels; send a flatter JSON object.")


def convert(value: Any, type_: type[R], place: str, not_yet: Mapping[str, str]) -> R:
    """A piece of a request that was decoded before, typed. ``place`` is where it was found.

    Raises MeshError that names the field at fault.
    """
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        _explain(str(error), not_yet, place)


def invalid(message: str, param: str | None = None) -> MeshError:
    return MeshError(Code.INVALID_REQUEST, message, param=param)


def unsupported(param: str, instead: str) -> MeshError:
    return MeshError(Code.UNSUPPORTED_PARAMETER, f"`{param}`: {instead}", param=param)


def _explain(complaint: str, not_yet: Mapping[str, str], root: str = "") -> NoReturn:
    """Turn msgspec's sentence into one that names the field and says what to do."""
    what, _, place = complaint.partition(" - at ")
    path = place.replace("`key` in ", "").strip("`").removeprefix("$").removeprefix(".")
    field = re.search(r"field `([^`]*)`", what)
    where = ".".join(part for part in (root, path, field and field[1]) if part)
    bare = re.sub(r"\[[^]]*]", "", where)
    is_lacking = "missing" in what or "length >=" in what
    for known, instead in not_yet.items():
        if not is_lacking and (bare == known or bare.startswith(f"{known}.")):
            raise unsupported(where if "." in known else known, instead)
    if "unknown field" in what:
        raise invalid(f"Unknown field `{where}`; check its spelling or leave it out.", where)
    if "missing" in what:
        raise invalid(f"`{where}` is required; add it.", where)
    subject = f"`{where}`: " if where else "The body: "
    raise invalid(f"{subject}{what[:1].lower()}{what[1:]}.", where or None)


def sign_of_life(what: str) -> bytes:
    """``WAITING``, or a comment that tells people what for."""
    return b": %b\n\n" % " ".join(what.split()).encode() if what else WAITING
