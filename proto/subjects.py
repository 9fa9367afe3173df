"""Where everything is said: one line a subject. No other file spells one.

``mesh.v1.<area>.<who>.<what>`` and ``telemetry.v1.<kind>.<who>``, lower case; what stands in
angle brackets is filled in by ``at``. Bodies on ``mesh`` are msgpack, on ``telemetry`` JSON.

The server lets each speak only at addresses of its own, so an address proves who spoke. An id of
PAIRS is two tokens of it: whom the server knows, and which of theirs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from proto import (
    audit,
    blobs,
    choice,
    credentials,
    embedding,
    enrolment,
    examination,
    frames,
    generation,
    group,
    jobs,
    joining,
    link,
    overview,
    placement,
    presence,
    provider,
    store,
    telemetry,
    tokenization,
    usage,
)
from proto.dialects.responses import stored
from proto.errors import Refused
from proto.ids import node_of, service_id

M = TypeVar("M")
A = TypeVar("A")

_MSGPACK = msgspec.msgpack.Encoder()
_JSON = msgspec.json.Encoder()
_FORBIDDEN = frozenset(".*> \t\r\n")
_PLACE = re.compile("<([a-z]+)>")
PAIRS = frozenset({"engine", "gateway", "service", "holder"})
"""Places of two tokens: ``<node>.<name>``, ``<credential>.<process>``, ``<kind>.<process>``,
``<role>.<name>``."""


@lru_cache(maxsize=1024)
def _fill(form: str, tokens: tuple[str, ...]) -> str:
    places = _PLACE.findall(form)
    if len(places) != len(tokens):
        raise ValueError(f"{form} takes {len(places)} tokens, not {len(tokens)}")
    for place, token in zip(places, tokens, strict=True):
        parts = token.split(".") if place in PAIRS else [token]
        if len(parts) != 1 + (place in PAIRS) or not all(map(_is_token, parts)):
            raise ValueError(f"{token!r} cannot be the {place} of a subject")
    remaining = iter(tokens)
    return _PLACE.sub(lambda _: next(remaining), form)


def _is_token(text: str) -> bool:
    return bool(text) and _FORBIDDEN.isdisjoint(text)


@dataclass(frozen=True)
class Subject(Generic[M]):
    """An address and the type of what is said there."""

    form: str
    """The address, with names in angle brackets for what changes."""
    type: Any
    is_json: bool = False
    speaker: Callable[[Any], tuple[str, ...]] | None = None
    """From whom a message says it is, as tokens of its address. Raises ValueError for nobody."""

    def __post_init__(self) -> None:
        if "*" in self.form:
            raise ValueError(f"{self.form}: name what stands there, such as <engine>")
        decoder = msgspec.json.Decoder if self.is_json else msgspec.msgpack.Decoder
        object.__setattr__(self, "_decode", decoder(self.type).decode)
        any_of_it = re.escape(self.pattern).replace(r"\*", "[^.]+")
        object.__setattr__(self, "_fits", re.compile(any_of_it).fullmatch)

    @property
    def pattern(self) -> str:
        """The address from everybody, as the server knows it: a star for each token."""
        return self.within()

    def at(self, *tokens: str) -> str:
        """The address with its places filled in; refuses what would change its shape."""
        return _fill(self.form, tokens)

    def within(self, **whose: str) -> str:
        """The addresses at which these stand, with stars for all else.

        Of a pair its first token is enough: ``STREAM.within(engine=node)``.
        """

        def fill(place: re.Match[str]) -> str:
            name = place[1]
            stars = 1 + (name in PAIRS)
            tokens = whose[name].split(".") if name in whose else []
            return ".".join([*tokens, *["*"] * (stars - len(tokens))])

        return _PLACE.sub(fill, self.form)

    def is_proven(self, address: str, message: M) -> bool:
        """Whether it was said where only its speaker can say it. What JetStream repeats was not."""
        if self.speaker is None:
            return bool(self._fits(address))  # type: ignore[attr-defined]
        try:
            return self.at(*self.speaker(message)) == address
        except ValueError:
            return False

    def encode(self, message: M) -> bytes:
        return (_JSON if self.is_json else _MSGPACK).encode(message)

    def decode(self, body: bytes) -> M:
        """Raises msgspec.DecodeError on anything that is not a message of this subject."""
        try:
            message: M = self._decode(body)  # type: ignore[attr-defined]
        except (RecursionError, UnicodeDecodeError) as error:
            raise msgspec.DecodeError(f"{type(error).__name__} in what was sent") from error
        return message


@dataclass(frozen=True)
class Question(Subject[M], Generic[M, A]):
    """A subject whose messages are answered with an ``answer`` or ``Refused``."""

    answer: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        decoder = msgspec.msgpack.Decoder(self.answer | Refused)
        object.__setattr__(self, "_decode_answer", decoder.decode)

    def encode_answer(self, answer: A | Refused) -> bytes:
        return _MSGPACK.encode(answer)

    def decode_answer(self, body: bytes) -> A | Refused:
        answer: A | Refused = self._decode_answer(body)  # type: ignore[attr-defined]
        return answer


def _engine(beat: presence.EngineBeat) -> tuple[str, ...]:
    if node_of(beat.engine) != beat.node:
        raise ValueError(f"{beat.engine} is not of node {beat.node}")
    return (beat.engine,)


def _rank(beat: group.RankBeat) -> tuple[str, ...]:
    return (beat.engine,)


def _node(beat: presence.NodeBeat) -> tuple[str, ...]:
    return (beat.node,)


def _gateway(beat: presence.GatewayBeat) -> tuple[str, ...]:
    return (beat.gateway,)


def _service(beat: presence.ServiceBeat) -> tuple[str, ...]:
    return (service_id(beat.service, beat.id),)


def _gone(kind: str) -> Callable[[presence.Gone], tuple[str, ...]]:
    def speaker(gone: presence.Gone) -> tuple[str, ...]:
        if gone.kind != kind:
            raise ValueError(f"a {gone.kind} is no {kind}")
        return (gone.id,)

    return speaker


SCHEDULE: Question[placement.Schedule, placement.Scheduled] = Question(
    "mesh.v1.schedule", placement.Schedule, answer=placement.Scheduled
)
WANT: Subject[placement.Want] = Subject("mesh.v1.want", placement.Want)
SUBMIT: Question[jobs.Submit, jobs.Submitted] = Question(
    "mesh.v1.leader.submit", jobs.Submit, answer=jobs.Submitted
)
STEER_JOB: Question[jobs.SteerJob, jobs.Submitted] = Question(
    "mesh.v1.leader.steer_job", jobs.SteerJob, answer=jobs.Submitted
)
LOOK_AROUND: Question[overview.LookAround, overview.Overview] = Question(
    "mesh.v1.look_around", overview.LookAround, answer=overview.Overview
)
WEIGH: Question[choice.Weigh, choice.Weighed] = Question(
    "mesh.v1.weigh", choice.Weigh, answer=choice.Weighed
)
RESTART_AGENT: Question[jobs.RestartAgent, jobs.AgentRestarts] = Question(
    "mesh.v1.node.<node>.restart", jobs.RestartAgent, answer=jobs.AgentRestarts
)
LOOK_AT_PROVIDERS: Question[provider.LookAtProviders, provider.ProvidersSeen] = Question(
    "mesh.v1.cloud.providers", provider.LookAtProviders, answer=provider.ProvidersSeen
)
CHECK_PROVIDER: Question[provider.CheckProvider, provider.ProviderChecked] = Question(
    "mesh.v1.cloud.check_provider", provider.CheckProvider, answer=provider.ProviderChecked
)
EXAMINE: Question[examination.Examine, examination.Examined] = Question(
    "mesh.v1.node.<node>.examine", examination.Examine, answer=examination.Examined
)
LEND_FILES: Question[store.LendFiles, store.FilesLent] = Question(
    "mesh.v1.node.<node>.lend_files", store.LendFiles, answer=store.FilesLent
)
OPEN_LINK: Question[link.OpenLink, link.LinkOpened] = Question(
    "mesh.v1.node.<node>.open_link", link.OpenLink, answer=link.LinkOpened
)
ENTRUST: Question[store.Entrust, store.Entrusted] = Question(
    "mesh.v1.node.<node>.entrust", store.Entrust, answer=store.Entrusted
)

INVITE: Question[joining.Invite, joining.Invited] = Question(
    "mesh.v1.bus.invite", joining.Invite, answer=joining.Invited
)
JOIN: Question[joining.Join, joining.Joined] = Question(
    "mesh.v1.bus.join", joining.Join, answer=joining.Joined
)
REVOKE: Question[joining.Revoke, joining.Revoked] = Question(
    "mesh.v1.bus.revoke", joining.Revoke, answer=joining.Revoked
)

INVITE_ROLE: Question[credentials.InviteRole, joining.Invited] = Question(
    "mesh.v1.bus.invite_role", credentials.InviteRole, answer=joining.Invited
)
ADMIT: Question[credentials.Admit, credentials.Admitted] = Question(
    "mesh.v1.bus.admit", credentials.Admit, answer=credentials.Admitted
)
CREDENTIALS: Question[credentials.ListCredentials, credentials.Credentials] = Question(
    "mesh.v1.bus.credentials", credentials.ListCredentials, answer=credentials.Credentials
)
ROTATE: Question[credentials.Rotate, credentials.Rotated] = Question(
    "mesh.v1.bus.rotate", credentials.Rotate, answer=credentials.Rotated
)
RENEW: Question[credentials.Renew, credentials.Rotated] = Question(
    "mesh.v1.bus.renew.<holder>",
    credentials.Renew,
    speaker=lambda renew: (renew.holder,),
    answer=credentials.Rotated,
)
DISMISS: Question[credentials.Dismiss, credentials.Dismissed] = Question(
    "mesh.v1.bus.dismiss", credentials.Dismiss, answer=credentials.Dismissed
)

GENERATE: Question[generation.Generate, generation.Accepted] = Question(
    "mesh.v1.engine.<engine>.generate", generation.Generate, answer=generation.Accepted
)
COUNT_TOKENS: Question[tokenization.CountTokens, tokenization.Counted] = Question(
    "mesh.v1.engine.<engine>.count_tokens", tokenization.CountTokens, answer=tokenization.Counted
)
TOKENIZE: Question[tokenization.Tokenize, tokenization.Tokenized] = Question(
    "mesh.v1.engine.<engine>.tokenize", tokenization.Tokenize, answer=tokenization.Tokenized
)
DETOKENIZE: Question[tokenization.Detokenize, tokenization.Detokenized] = Question(
    "mesh.v1.engine.<engine>.detokenize", tokenization.Detokenize, answer=tokenization.Detokenized
)
EMBED: Question[embedding.Embed, embedding.Embedded] = Question(
    "mesh.v1.engine.<engine>.embed", embedding.Embed, answer=embedding.Embedded
)
RERANK: Question[embedding.Rerank, embedding.Reranked] = Question(
    "mesh.v1.engine.<engine>.rerank", embedding.Rerank, answer=embedding.Reranked
)
FETCH_BLOB: Question[blobs.FetchBlob, blobs.BlobPiece] = Question(
    "mesh.v1.gateway.<gateway>.fetch_blob", blobs.FetchBlob, answer=blobs.BlobPiece
)
PROBE: Question[presence.Probe, presence.Here] = Question(
    "mesh.v1.gateway.<gateway>.probe", presence.Probe, answer=presence.Here
)
CANCEL_RESPONSE: Question[stored.CancelResponse, stored.ResponseCancelled] = Question(
    "mesh.v1.gateway.<gateway>.cancel_response",
    stored.CancelResponse,
    answer=stored.ResponseCancelled,
)
SET_LOADED: Question[enrolment.SetLoaded, enrolment.LoadedSet] = Question(
    "mesh.v1.engine.<engine>.set_loaded", enrolment.SetLoaded, answer=enrolment.LoadedSet
)
RECOGNISE: Question[enrolment.Recognise, enrolment.Recognised] = Question(
    "mesh.v1.cloud.recognise", enrolment.Recognise, answer=enrolment.Recognised
)
REPLAY: Question[generation.Replay, generation.Replayed] = Question(
    "mesh.v1.engine.<engine>.replay", generation.Replay, answer=generation.Replayed
)
CANCEL: Subject[generation.Cancel] = Subject("mesh.v1.engine.<engine>.cancel", generation.Cancel)
HOLD: Subject[generation.Hold] = Subject("mesh.v1.engine.<engine>.hold", generation.Hold)
STREAM: Subject[frames.AnyFrame] = Subject(
    "mesh.v1.stream.<gateway>.<engine>.<request>", frames.AnyFrame
)

USAGE_REPORT: Subject[usage.UsageReport] = Subject(
    "mesh.v1.usage.<gateway>", usage.UsageReport, speaker=_gateway
)

ENGINE_BEAT: Subject[presence.EngineBeat] = Subject(
    "mesh.v1.beat.engine.<engine>", presence.EngineBeat, speaker=_engine
)
RANK_BEAT: Subject[group.RankBeat] = Subject(
    "mesh.v1.beat.rank.<engine>", group.RankBeat, speaker=_rank
)
NODE_BEAT: Subject[presence.NodeBeat] = Subject(
    "mesh.v1.beat.node.<node>", presence.NodeBeat, speaker=_node
)
GATEWAY_BEAT: Subject[presence.GatewayBeat] = Subject(
    "mesh.v1.beat.gateway.<gateway>", presence.GatewayBeat, speaker=_gateway
)
SERVICE_BEAT: Subject[presence.ServiceBeat] = Subject(
    "mesh.v1.beat.service.<service>", presence.ServiceBeat, speaker=_service
)
ENGINE_GONE: Subject[presence.Gone] = Subject(
    "mesh.v1.gone.engine.<engine>", presence.Gone, speaker=_gone("engine")
)
NODE_GONE: Subject[presence.Gone] = Subject(
    "mesh.v1.gone.node.<node>", presence.Gone, speaker=_gone("node")
)
GATEWAY_GONE: Subject[presence.Gone] = Subject(
    "mesh.v1.gone.gateway.<gateway>", presence.Gone, speaker=_gone("gateway")
)
SERVICE_GONE: Subject[presence.Gone] = Subject(
    "mesh.v1.gone.service.<service>", presence.Gone, speaker=_gone("service")
)

TELEMETRY = "telemetry.>"
ENGINE_TELEMETRY: Subject[presence.EngineBeat] = Subject(
    "telemetry.v1.engine.<engine>", presence.EngineBeat, is_json=True, speaker=_engine
)
RANK_TELEMETRY: Subject[group.RankBeat] = Subject(
    "telemetry.v1.rank.<engine>", group.RankBeat, is_json=True, speaker=_rank
)
NODE_TELEMETRY: Subject[presence.NodeBeat] = Subject(
    "telemetry.v1.node.<node>", presence.NodeBeat, is_json=True, speaker=_node
)
REQUEST_TELEMETRY: Subject[telemetry.RequestEvent] = Subject(
    "telemetry.v1.request.<gateway>", telemetry.RequestEvent, is_json=True
)
EGRESS_TELEMETRY: Subject[telemetry.EgressEvent] = Subject(
    "telemetry.v1.egress.<engine>",
    telemetry.EgressEvent,
    is_json=True,
    speaker=lambda event: (event.engine,),
)
ALERT_TELEMETRY: Subject[telemetry.Alert] = Subject(
    "telemetry.v1.alert.<subject>", telemetry.Alert, is_json=True
)
EVENT_TELEMETRY: Subject[telemetry.EngineEvent] = Subject(
    "telemetry.v1.event.<engine>", telemetry.EngineEvent, is_json=True
)
CAPTURE_TELEMETRY: Subject[telemetry.CaptureEvent] = Subject(
    "telemetry.v1.capture.<gateway>", telemetry.CaptureEvent, is_json=True
)
JOB_TELEMETRY: Subject[telemetry.JobEvent] = Subject(
    "telemetry.v1.job.<job>", telemetry.JobEvent, is_json=True
)
AUDIT_TELEMETRY: Subject[audit.AuditEvent] = Subject(
    "telemetry.v1.audit.<holder>",
    audit.AuditEvent,
    is_json=True,
    speaker=lambda event: (event.said_by,),
)
