"""Names of things. A class of its own for each, so that a node is never taken for an engine."""

import base64
import hashlib
import re
import secrets
from typing import NewType

NodeId = NewType("NodeId", str)
EngineId = NewType("EngineId", str)
"""``<node>.<name>``: two tokens of a subject, so that the server can tell whose it is."""
GatewayId = NewType("GatewayId", str)
"""``<credential>.<process>``: two tokens as well."""
RequestId = NewType("RequestId", str)
SessionId = NewType("SessionId", str)
JobId = NewType("JobId", str)
KeyId = NewType("KeyId", str)
"""Who asks, as far as fairness goes: an API key's name or a hash of it, never the key itself."""
ModelId = NewType("ModelId", str)
"""What clients call a model. It may hold dots and slashes: never a subject token."""


CLOUD = NodeId("cloud")
"""In place of a node in the ids of engines that are upstreams. No machine is called so."""


def fresh() -> str:
    """A random id of 80 bits: 16 characters of base32, lower case, fit for a subject token."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


def slug(name: str) -> str:
    """A name as one token of a subject."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def engine_id(node: NodeId, source: str) -> EngineId:
    """The same for the same source on the same node, whoever places it and however often."""
    mark = hashlib.blake2b(source.encode(), digest_size=3).hexdigest()
    return EngineId(f"{node}.{slug(source.rstrip('/').rpartition('/')[2])[:32]}-{mark}")


def node_of(engine: EngineId) -> NodeId:
    return NodeId(engine.partition(".")[0])


def gateway_id(credential: str, process: str) -> GatewayId:
    return GatewayId(f"{credential}.{process}")


def service_id(service: str, process: str) -> str:
    return f"{service}.{process}"
