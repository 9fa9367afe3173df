"""Names of things. A class of its own for each, so that a node is never taken for an engine."""

import base64
import secrets
from typing import NewType

NodeId = NewType("NodeId", str)
EngineId = NewType("EngineId", str)
GatewayId = NewType("GatewayId", str)
RequestId = NewType("RequestId", str)
SessionId = NewType("SessionId", str)
JobId = NewType("JobId", str)
KeyId = NewType("KeyId", str)
"""Who asks, as far as fairness goes: an API key's name or a hash of it, never the key itself."""
ModelId = NewType("ModelId", str)
"""What clients call a model. It may hold dots and slashes: never a subject token."""


def fresh() -> str:
    """A random id of 80 bits: 16 characters of base32, lower case, fit for a subject token."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()
