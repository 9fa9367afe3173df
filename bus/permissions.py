"""What each kind of member may say and hear on the bus, as the server's settings spell it."""

from typing import Any

from proto.ids import NodeId
from proto.plan import PLANS
from proto.state import ENGINES
from proto.store import STORES
from proto.subjects import (
    ENGINE_BEAT,
    ENGINE_GONE,
    ENGINE_TELEMETRY,
    EVENT_TELEMETRY,
    FETCH_BLOB,
    GATEWAY_BEAT,
    GATEWAY_GONE,
    JOIN,
    LEND_FILES,
    NODE_BEAT,
    NODE_GONE,
    NODE_TELEMETRY,
    PROBE,
    STREAM,
)

Permissions = dict[str, Any]

ANSWER_WITHIN = "1h"
"""So long may a question be answered that a node heard; otherwise it says nothing to inboxes."""

OPS: Permissions = {
    "publish": {"deny": [">"]},
    "subscribe": {"allow": ["telemetry.>", "_INBOX.ops.>"]},
}
"""Hears telemetry only."""


def of_invitation(key: str) -> Permissions:
    """May ask to join, and hear the answer."""
    return {
        "publish": {"allow": [JOIN.pattern]},
        "subscribe": {"allow": [_inbox(key)]},
    }


def of_node(node: NodeId, key: str) -> Permissions:
    """What an agent and its engines need. They hear no token of anybody and order nothing."""
    return {
        "publish": {
            "allow": [
                NODE_BEAT.at(node),
                NODE_TELEMETRY.at(node),
                NODE_GONE.at(node),
                ENGINE_BEAT.within(engine=node),
                ENGINE_TELEMETRY.within(engine=node),
                EVENT_TELEMETRY.within(engine=node),
                ENGINE_GONE.within(engine=node),
                STREAM.within(engine=node),
                LEND_FILES.pattern,
                FETCH_BLOB.pattern,
                PROBE.pattern,
                *_reads(ENGINES),
                *_reads(PLANS),
                *_reads(STORES),
                f"$KV.{ENGINES}.{node}.*",
                f"$KV.{PLANS}.{node}",
                f"$KV.{STORES}.{node}",
            ]
        },
        "subscribe": {
            "allow": [
                f"mesh.v1.node.{node}.>",
                f"mesh.v1.engine.{node}.>",
                NODE_BEAT.at(node),
                ENGINE_BEAT.within(engine=node),
                GATEWAY_BEAT.pattern,
                GATEWAY_GONE.pattern,
                _inbox(key),
            ]
        },
        "allow_responses": {"max": 1, "expires": ANSWER_WITHIN},
    }


def _inbox(key: str) -> str:
    return f"_INBOX.{key}.>"


def _reads(bucket: str) -> list[str]:
    """Open a bucket, read it, watch it."""
    stream = f"KV_{bucket}"
    return [
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.STREAM.CREATE.{stream}",
        f"$JS.API.STREAM.MSG.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}.>",
        f"$JS.API.CONSUMER.*.{stream}",
        f"$JS.API.CONSUMER.*.{stream}.>",
        f"$JS.FC.{stream}.>",
    ]
