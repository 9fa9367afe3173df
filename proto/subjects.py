"""Where everything is said: one line a subject. No other file spells one.

``mesh.v1.<area>.<who>.<what>`` and ``telemetry.v1.<kind>.<who>``, lower case; a ``*``
is filled in by ``at``. Bodies on ``mesh`` are msgpack, on ``telemetry`` JSON.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from proto import (
    embedding,
    frames,
    inference,
    jobs,
    joining,
    overview,
    presence,
    store,
    telemetry,
)
from proto.dialects.responses import stored
from proto.errors import Refused

M = TypeVar("M")
A = TypeVar("A")

_MSGPACK = msgspec.msgpack.Encoder()
_JSON = msgspec.json.Encoder()
_FORBIDDEN = frozenset(".*> \t\r\n")


@lru_cache(maxsize=1024)
def _fill(pattern: str, tokens: tuple[str, ...]) -> str:
    parts = pattern.split("*")
    if len(parts) != len(tokens) + 1:
        raise ValueError(f"{pattern} takes {len(parts) - 1} tokens, not {len(tokens)}")
    for token in tokens:
        if not token or not _FORBIDDEN.isdisjoint(token):
            raise ValueError(f"{token!r} cannot be part of a subject")
    return "".join(p + t for p, t in zip(parts, (*tokens, ""), strict=True))


@dataclass(frozen=True)
class Subject(Generic[M]):
    """An address and the type of what is said there."""

    pattern: str
    type: Any
    is_json: bool = False

    def __post_init__(self) -> None:
        decoder = msgspec.json.Decoder if self.is_json else msgspec.msgpack.Decoder
        object.__setattr__(self, "_decode", decoder(self.type).decode)

    def at(self, *tokens: str) -> str:
        """The address with its wildcards filled in; refuses what would change its shape."""
        return _fill(self.pattern, tokens)

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


SCHEDULE: Question[inference.Schedule, inference.Scheduled] = Question(
    "mesh.v1.schedule", inference.Schedule, answer=inference.Scheduled
)
WANT: Subject[inference.Want] = Subject("mesh.v1.want", inference.Want)
SUBMIT: Question[jobs.Submit, jobs.Submitted] = Question(
    "mesh.v1.leader.submit", jobs.Submit, answer=jobs.Submitted
)
STEER_JOB: Question[jobs.SteerJob, jobs.Submitted] = Question(
    "mesh.v1.leader.steer_job", jobs.SteerJob, answer=jobs.Submitted
)
LOOK_AROUND: Question[overview.LookAround, overview.Overview] = Question(
    "mesh.v1.look_around", overview.LookAround, answer=overview.Overview
)
RESTART_AGENT: Question[jobs.RestartAgent, jobs.AgentRestarts] = Question(
    "mesh.v1.node.*.restart", jobs.RestartAgent, answer=jobs.AgentRestarts
)
LEND_FILES: Question[store.LendFiles, store.FilesLent] = Question(
    "mesh.v1.node.*.lend_files", store.LendFiles, answer=store.FilesLent
)
ENTRUST: Question[store.Entrust, store.Entrusted] = Question(
    "mesh.v1.node.*.entrust", store.Entrust, answer=store.Entrusted
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

GENERATE: Question[inference.Generate, inference.Accepted] = Question(
    "mesh.v1.engine.*.generate", inference.Generate, answer=inference.Accepted
)
COUNT_TOKENS: Question[inference.CountTokens, inference.Counted] = Question(
    "mesh.v1.engine.*.count_tokens", inference.CountTokens, answer=inference.Counted
)
TOKENIZE: Question[inference.Tokenize, inference.Tokenized] = Question(
    "mesh.v1.engine.*.tokenize", inference.Tokenize, answer=inference.Tokenized
)
DETOKENIZE: Question[inference.Detokenize, inference.Detokenized] = Question(
    "mesh.v1.engine.*.detokenize", inference.Detokenize, answer=inference.Detokenized
)
EMBED: Question[embedding.Embed, embedding.Embedded] = Question(
    "mesh.v1.engine.*.embed", embedding.Embed, answer=embedding.Embedded
)
RERANK: Question[embedding.Rerank, embedding.Reranked] = Question(
    "mesh.v1.engine.*.rerank", embedding.Rerank, answer=embedding.Reranked
)
FETCH_BLOB: Question[inference.FetchBlob, inference.BlobPiece] = Question(
    "mesh.v1.gateway.*.fetch_blob", inference.FetchBlob, answer=inference.BlobPiece
)
PROBE: Question[presence.Probe, presence.Here] = Question(
    "mesh.v1.gateway.*.probe", presence.Probe, answer=presence.Here
)
CANCEL_RESPONSE: Question[stored.CancelResponse, stored.ResponseCancelled] = Question(
    "mesh.v1.gateway.*.cancel_response", stored.CancelResponse, answer=stored.ResponseCancelled
)
REPLAY: Question[inference.Replay, inference.Replayed] = Question(
    "mesh.v1.engine.*.replay", inference.Replay, answer=inference.Replayed
)
CANCEL: Subject[inference.Cancel] = Subject("mesh.v1.engine.*.cancel", inference.Cancel)
STREAM: Subject[frames.AnyFrame] = Subject("mesh.v1.stream.*.*.*", frames.AnyFrame)
"""mesh.v1.stream.<gateway>.<engine>.<request>"""

ENGINE_BEAT: Subject[presence.EngineBeat] = Subject("mesh.v1.beat.engine.*", presence.EngineBeat)
NODE_BEAT: Subject[presence.NodeBeat] = Subject("mesh.v1.beat.node.*", presence.NodeBeat)
GATEWAY_BEAT: Subject[presence.GatewayBeat] = Subject(
    "mesh.v1.beat.gateway.*", presence.GatewayBeat
)
SERVICE_BEAT: Subject[presence.ServiceBeat] = Subject(
    "mesh.v1.beat.service.*", presence.ServiceBeat
)
GONE: Subject[presence.Gone] = Subject("mesh.v1.gone.*.*", presence.Gone)
"""mesh.v1.gone.<kind>.<id>"""

TELEMETRY = "telemetry.>"
ENGINE_TELEMETRY: Subject[presence.EngineBeat] = Subject(
    "telemetry.v1.engine.*", presence.EngineBeat, is_json=True
)
NODE_TELEMETRY: Subject[presence.NodeBeat] = Subject(
    "telemetry.v1.node.*", presence.NodeBeat, is_json=True
)
REQUEST_TELEMETRY: Subject[telemetry.RequestEvent] = Subject(
    "telemetry.v1.request.*", telemetry.RequestEvent, is_json=True
)
ALERT_TELEMETRY: Subject[telemetry.Alert] = Subject(
    "telemetry.v1.alert.*", telemetry.Alert, is_json=True
)
EVENT_TELEMETRY: Subject[telemetry.EngineEvent] = Subject(
    "telemetry.v1.event.*", telemetry.EngineEvent, is_json=True
)
CAPTURE_TELEMETRY: Subject[telemetry.CaptureEvent] = Subject(
    "telemetry.v1.capture.*", telemetry.CaptureEvent, is_json=True
)
JOB_TELEMETRY: Subject[telemetry.JobEvent] = Subject(
    "telemetry.v1.job.*", telemetry.JobEvent, is_json=True
)
