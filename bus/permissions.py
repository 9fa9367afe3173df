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
from proto.provider import CATALOGS, PROVIDER_KEYS, VAULTS
from proto.state import ENGINES, LEASES, RESPONSE_EVENTS, RESPONSES
from proto.store import STORES
from proto.subjects import (
    ADMIT,
    ALERT_TELEMETRY,
    AUDIT_TELEMETRY,
    CANCEL,
    CANCEL_RESPONSE,
    CAPTURE_TELEMETRY,
    CHECK_PROVIDER,
    COUNT_TOKENS,
    CREDENTIALS,
    DETOKENIZE,
    DISMISS,
    EGRESS_TELEMETRY,
    EMBED,
    ENGINE_BEAT,
    ENGINE_GONE,
    ENGINE_TELEMETRY,
    ENTRUST,
    EVENT_TELEMETRY,
    EXAMINE,
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
    LOOK_AT_PROVIDERS,
    NODE_BEAT,
    NODE_GONE,
    NODE_TELEMETRY,
    OPEN_LINK,
    PROBE,
    RANK_BEAT,
    RANK_TELEMETRY,
    RECOGNISE,
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
    SET_LOADED,
    STEER_JOB,
    STREAM,
    SUBMIT,
    TELEMETRY,
    TOKENIZE,
    USAGE_REPORT,
    WANT,
    WEIGH,
    Question,
    Subject,
)
from proto.usage import LEASE_OF_BOOKS, USAGE, USED

Permissions = dict[str, Any]
BUCKETS = (
    CATALOGS, CONFIG, ENGINES, JOBS, KEPT_ANSWERS, KEYS, LEASES, PLANS, PROVIDER_KEYS,
    RESPONSE_EVENTS, RESPONSES, SPENDING, STORES, USAGE, VAULTS,
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
    keeps_books: bool = False
    """It takes reports of usage out of their stream."""


SERVICE = (SERVICE_BEAT, SERVICE_GONE)
ENGINE_ASKED = (GENERATE, COUNT_TOKENS, TOKENIZE, DETOKENIZE, EMBED, RERANK, REPLAY, CANCEL, HOLD)
ENGINE_SAYS = (STREAM, ENGINE_BEAT, ENGINE_GONE, ENGINE_TELEMETRY)
RANK_SAYS = (RANK_BEAT, RANK_TELEMETRY)
GATEWAY_LIFE = (GATEWAY_BEAT, GATEWAY_GONE)
FLEET = (ENGINE_BEAT, ENGINE_GONE, NODE_BEAT, NODE_GONE)
ORDERS = (SUBMIT, STEER_JOB, LOOK_AROUND, WEIGH, INVITE)
PROVIDERS = (LOOK_AT_PROVIDERS, CHECK_PROVIDER, RECOGNISE)
ACCESS = (Kept(CONFIG, "admin"), Kept(KEYS, "*"), Kept(SPENDING, "*"))
"""Who may use the mesh over HTTP, and how."""

PARTS: dict[Role, Part] = {
    "gateway": Part(
        says_own=(
            *GATEWAY_LIFE,
            *(REQUEST_TELEMETRY, CAPTURE_TELEMETRY, AUDIT_TELEMETRY, USAGE_REPORT, RENEW),
        ),
        says=(SCHEDULE, *ORDERS, *PROVIDERS, *ENGINE_ASKED, PROBE, CANCEL_RESPONSE),
        hears_own=(STREAM, FETCH_BLOB, PROBE, CANCEL_RESPONSE),
        hears=(*FLEET, *GATEWAY_LIFE, JOB_TELEMETRY),
        keeps=(
            Kept(ENGINES),
            Kept(STORES),
            *ACCESS,
            # It seals keys for those whom the vaults name, and can open none.
            Kept(PROVIDER_KEYS, "*.*"),
            Kept(VAULTS),
            Kept(RESPONSES, ">"),
            Kept(RESPONSE_EVENTS, ">"),
            Kept(KEPT_ANSWERS, ">"),
            Kept(USAGE),
        ),
    ),
    "scheduler": Part(
        says_own=(*SERVICE, AUDIT_TELEMETRY, RENEW),
        says=(WANT, JOB_TELEMETRY, RESTART_AGENT, ENTRUST, REVOKE, SET_LOADED),
        hears=(SCHEDULE, LOOK_AROUND, WEIGH, SUBMIT, STEER_JOB, WANT, *FLEET, RANK_BEAT),
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
        says_own=(
            *(NODE_BEAT, NODE_GONE, NODE_TELEMETRY, *ENGINE_SAYS, EVENT_TELEMETRY, RENEW),
            *RANK_SAYS,
        ),
        says=(LEND_FILES, OPEN_LINK, FETCH_BLOB, PROBE),
        hears_own=(
            *(RESTART_AGENT, LEND_FILES, OPEN_LINK, ENTRUST, EXAMINE, *ENGINE_ASKED),
            *(NODE_BEAT, ENGINE_BEAT),
        ),
        # Ranks of a group hear one another, and nothing of a prompt in it.
        hears=(*GATEWAY_LIFE, RANK_BEAT, ENGINE_GONE),
        keeps=(
            Kept(ENGINES, "{name}.*"),
            Kept(PLANS, "{name}"),
            Kept(STORES, "{name}"),
        ),
    ),
    "cloud": Part(
        says_own=(*SERVICE, *ENGINE_SAYS, EGRESS_TELEMETRY, RENEW),
        says=(FETCH_BLOB, PROBE),
        hears_own=(*ENGINE_ASKED, SET_LOADED),
        hears=(*PROVIDERS, *GATEWAY_LIFE),
        keeps=(
            Kept(CONFIG),
            Kept(PROVIDER_KEYS, "*.*"),
            Kept(VAULTS, "{name}"),
            Kept(CATALOGS, "*"),
        ),
    ),
    "health": Part(
        says_own=(*SERVICE, RENEW),
        says=(ALERT_TELEMETRY,),
        hears=(*FLEET, *GATEWAY_LIFE, *SERVICE, RANK_BEAT, USAGE_REPORT),
        keeps=(Kept(USAGE, "*"), Kept(SPENDING, "*"), Kept(LEASES, LEASE_OF_BOOKS)),
        keeps_books=True,
    ),
    "console": Part(
        says_own=(RENEW, AUDIT_TELEMETRY),
        says=(*ORDERS, *PROVIDERS, EXAMINE, INVITE_ROLE, ADMIT, CREDENTIALS, ROTATE, DISMISS),
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
    if part.keeps_books:
        reads = ("INFO", "MSG.GET", "PURGE")
        says += [f"$JS.API.STREAM.{what}.{USED}" for what in reads]
    if holder.role == "doorkeeper":
        streams = (*map(_stream_of, BUCKETS), AUDIT, USED)
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
