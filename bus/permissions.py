"""What each role may say and hear on the bus: the architecture as one table, and as the server's
settings spell it.

A row of ``PARTS`` names subjects. ``own`` are those at which the holder speaks as itself: whatever
stands for it in them is its own name, so that the server proves who spoke and who was meant.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from proto.audit import AUDIT
from proto.config import CONFIG
from proto.credentials import Holder, Role
from proto.ids import CLOUD
from proto.jobs import JOBS
from proto.kept import KEPT_ANSWERS
from proto.keys import KEYS, SPENDING
from proto.plan import PLANS
from proto.state import ENGINES, LEASES, RESPONSE_EVENTS, RESPONSES
from proto.store import STORES
from proto.subjects import (
    ADMIT,
    ALERT_TELEMETRY,
    AUDIT_TELEMETRY,
    CANCEL,
    CANCEL_RESPONSE,
    CAPTURE_TELEMETRY,
    COUNT_TOKENS,
    CREDENTIALS,
    DETOKENIZE,
    DISMISS,
    EMBED,
    ENGINE_BEAT,
    ENGINE_GONE,
    ENGINE_TELEMETRY,
    ENTRUST,
    EVENT_TELEMETRY,
    FETCH_BLOB,
    GATEWAY_BEAT,
    GATEWAY_GONE,
    GENERATE,
    HOLD,
    INVITE,
    INVITE_ROLE,
    JOB_TELEMETRY,
    JOIN,
    LEND_FILES,
    LOOK_AROUND,
    NODE_BEAT,
    NODE_GONE,
    NODE_TELEMETRY,
    PROBE,
    RENEW,
    REPLAY,
    REQUEST_TELEMETRY,
    RERANK,
    RESTART_AGENT,
    REVOKE,
    ROTATE,
    SCHEDULE,
    SERVICE_BEAT,
    SERVICE_GONE,
    STEER_JOB,
    STREAM,
    SUBMIT,
    TELEMETRY,
    TOKENIZE,
    WANT,
    Question,
    Subject,
)

Permissions = dict[str, Any]
BUCKETS = (
    CONFIG, ENGINES, JOBS, KEPT_ANSWERS, KEYS, LEASES, PLANS,
    RESPONSE_EVENTS, RESPONSES, SPENDING, STORES,
)  # fmt: skip
AnySubject = Subject[Any]


@dataclass(frozen=True)
class Kept:
    """Records of one bucket."""

    bucket: str
    written: str = ""
    """Keys that it writes, with ``{name}`` for its own; empty: it reads only."""
    is_purged: bool = False
    """It also deletes without a mark."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a role says and hears. Questions that it hears it answers."""

    says_own: tuple[AnySubject, ...] = ()
    says: tuple[AnySubject, ...] = ()
    hears_own: tuple[AnySubject, ...] = ()
    hears: tuple[AnySubject, ...] = ()
    keeps: tuple[Kept, ...] = ()
    reads_log: bool = False
    """The audit log."""


SERVICE = (SERVICE_BEAT, SERVICE_GONE)
ENGINE_ASKED = (GENERATE, COUNT_TOKENS, TOKENIZE, DETOKENIZE, EMBED, RERANK, REPLAY, CANCEL, HOLD)
ENGINE_SAYS = (STREAM, ENGINE_BEAT, ENGINE_GONE, ENGINE_TELEMETRY)
GATEWAY_LIFE = (GATEWAY_BEAT, GATEWAY_GONE)
FLEET = (ENGINE_BEAT, ENGINE_GONE, NODE_BEAT, NODE_GONE)
ORDERS = (SUBMIT, STEER_JOB, LOOK_AROUND, INVITE)
ACCESS = (Kept(CONFIG, "admin"), Kept(KEYS, "*"), Kept(SPENDING, "*"))
"""Who may use the mesh over HTTP, and how."""

PARTS: dict[Role, Part] = {
    "gateway": Part(
        says_own=(*GATEWAY_LIFE, REQUEST_TELEMETRY, CAPTURE_TELEMETRY, AUDIT_TELEMETRY, RENEW),
        says=(SCHEDULE, *ORDERS, *ENGINE_ASKED, PROBE, CANCEL_RESPONSE),
        hears_own=(STREAM, FETCH_BLOB, PROBE, CANCEL_RESPONSE),
        hears=(*FLEET, *GATEWAY_LIFE, JOB_TELEMETRY),
        keeps=(
            Kept(ENGINES),
            Kept(STORES),
            *ACCESS,
            Kept(RESPONSES, ">"),
            Kept(RESPONSE_EVENTS, ">"),
            Kept(KEPT_ANSWERS, ">"),
        ),
    ),
    "scheduler": Part(
        says_own=(*SERVICE, AUDIT_TELEMETRY, RENEW),
        says=(WANT, JOB_TELEMETRY, RESTART_AGENT, ENTRUST, REVOKE),
        hears=(SCHEDULE, LOOK_AROUND, SUBMIT, STEER_JOB, WANT, *FLEET),
        keeps=(
            Kept(ENGINES),
            Kept(STORES, "*"),
            Kept(CONFIG, "file"),
            Kept(PLANS, "*"),
            Kept(JOBS, "*", is_purged=True),
            Kept(LEASES, "*"),
        ),
    ),
    "runner": Part(
        says_own=(NODE_BEAT, NODE_GONE, NODE_TELEMETRY, *ENGINE_SAYS, EVENT_TELEMETRY, RENEW),
        says=(LEND_FILES, FETCH_BLOB, PROBE),
        hears_own=(RESTART_AGENT, LEND_FILES, ENTRUST, *ENGINE_ASKED, NODE_BEAT, ENGINE_BEAT),
        hears=GATEWAY_LIFE,
        keeps=(
            Kept(ENGINES, "{name}.*"),
            Kept(PLANS, "{name}"),
            Kept(STORES, "{name}"),
        ),
    ),
    "cloud": Part(
        says_own=(*SERVICE, *ENGINE_SAYS, RENEW),
        says=(FETCH_BLOB, PROBE),
        hears_own=ENGINE_ASKED,
        hears=GATEWAY_LIFE,
    ),
    "health": Part(
        says_own=(*SERVICE, RENEW),
        says=(ALERT_TELEMETRY,),
        hears=(*FLEET, *GATEWAY_LIFE, *SERVICE),
    ),
    "console": Part(
        says_own=(RENEW, AUDIT_TELEMETRY),
        says=(*ORDERS, INVITE_ROLE, ADMIT, CREDENTIALS, ROTATE, DISMISS),
        hears=(GATEWAY_BEAT, JOB_TELEMETRY),
        # For `odyssai state`, which finds and removes what cannot be read.
        keeps=tuple(Kept(bucket, ">") for bucket in BUCKETS),
        reads_log=True,
    ),
    "ops": Part(says_own=(RENEW,)),
    "doorkeeper": Part(
        says_own=(AUDIT_TELEMETRY,),
        hears=(INVITE, INVITE_ROLE, JOIN, REVOKE, ADMIT, CREDENTIALS, ROTATE, RENEW, DISMISS),
    ),
    "guest": Part(says=(JOIN,)),
}


def of(holder: Holder) -> Permissions:
    """The rights of all but ``sys``, who is the server's own."""
    part = PARTS[holder.role]
    says = [*_own(part.says_own, holder), *(each.pattern for each in part.says)]
    hears = [*_own(part.hears_own, holder), *(each.pattern for each in part.hears)]
    for kept in part.keeps:
        says += _api(kept, holder.name)
    if part.reads_log:
        says += [*_reading(AUDIT), f"$JS.API.CONSUMER.MSG.NEXT.{AUDIT}.*"]
    if holder.role == "doorkeeper":
        streams = (*map(_stream_of, BUCKETS), AUDIT)
        says += [api for stream in streams for api in _making(stream)]
    if holder.role == "ops":
        hears.append(TELEMETRY)
    return {
        "publish": {"allow": [*says, *(f"_INBOX.{role}.>" for role in askers(part))]},
        "subscribe": {"allow": [*hears, f"_INBOX.{holder}.>"]},
    }


def askers(part: Part) -> list[Role]:
    """Whose questions it answers. What else stands in a question's place for the answer is refused;
    the server's own ``allow_responses`` knows no such bound, and forgets at each reload who asked.
    """
    questions = {q for q in (*part.hears_own, *part.hears) if isinstance(q, Question)}
    return [role for role, it in PARTS.items() if questions & {*it.says_own, *it.says}]


def _own(subjects: Iterable[AnySubject], holder: Holder) -> list[str]:
    return [each.within(**_self(holder)) for each in subjects]


def _self(holder: Holder) -> dict[str, str]:
    """What stands for the holder in its own subjects."""
    own = {"holder": str(holder), "service": holder.role}
    match holder.role:
        case "gateway":
            own["gateway"] = holder.name
        case "runner":
            own |= {"node": holder.name, "engine": holder.name}
        case "cloud":
            own["engine"] = CLOUD
    return own


def _api(kept: Kept, name: str) -> list[str]:
    """Open a bucket, read it, watch it, write what it may. It exists: the doorkeeper made it."""
    stream = _stream_of(kept.bucket)
    allowed = [*_reading(stream), f"$JS.API.STREAM.MSG.GET.{stream}", f"$JS.FC.{stream}.>"]
    if kept.written:
        allowed.append(f"$KV.{kept.bucket}.{kept.written.format(name=name)}")
    if kept.is_purged:
        allowed.append(f"$JS.API.STREAM.PURGE.{stream}")
    return allowed


def _reading(stream: str) -> list[str]:
    return [
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.>",
        f"$JS.API.CONSUMER.INFO.{stream}.*",
        f"$JS.API.CONSUMER.DELETE.{stream}.*",
    ]


def _making(stream: str) -> list[str]:
    """Who could change a stream could have it record what others say: nobody else may."""
    return [f"$JS.API.STREAM.{what}.{stream}" for what in ("INFO", "CREATE", "UPDATE")]


def _stream_of(bucket: str) -> str:
    return f"KV_{bucket}"
