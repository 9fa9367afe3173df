"""What an engine process is told by its environment, as its placement has it."""

from msgspec import json

from proto.ids import NodeId
from proto.plan import Placement
from services.runner.crew.process import BOOT


def environment(placement: Placement, node: NodeId, boot: str) -> dict[str, str]:
    """What the agent itself was told comes below it: an operator's word counts for all engines,
    except where the placement has its own. Of memory nothing is said to a model without KV caches.
    """
    grant = placement.grant
    told = {
        "ODYSSAI_ENGINE": placement.engine,
        "ODYSSAI_NODE": node,
        "ODYSSAI_SOURCE": placement.source,
        BOOT: boot,
        "ODYSSAI_CONTEXT": str(grant.context),
        "ODYSSAI_DRAFT": placement.draft.source if placement.draft else "",
    }
    if placement.slots is not None:
        told["ODYSSAI_SLOTS"] = str(placement.slots)
    if placement.group is not None:
        told["ODYSSAI_GROUP"] = json.encode(placement.group).decode()
    if grant.kv_bytes:
        told["ODYSSAI_KV_TOKENS"] = str(grant.kv_tokens)
        told["ODYSSAI_KV_BYTES"] = str(grant.kv_bytes)
    return told
