"""What outlives a process: the records kept in the mesh's key-value state."""

from proto.ids import EngineId, ModelId, NodeId
from proto.message import Message

ENGINES = "engines"
"""The bucket of EngineRecord, by engine id."""
RESPONSES = "responses"
"""The bucket of StoredResponse, by response id."""
RESPONSE_EVENTS = "response_events"
"""The bucket of ToldEvents: what background responses tell, in pieces below their ids."""

LEASES = "leases"
"""The bucket of LeaseRecord, by what is led. Records are gone LEASE_S after they were renewed."""
LEASE_S = 2.0


class LeaseRecord(Message, frozen=True, kw_only=True):
    """Who leads now. The record's revision is the epoch: it grows with every renewal, so that
    what an older leader decided is told from what a newer one did.
    """

    holder: str
    boot: str
    epoch: int
    """Of this reign: the revision at which it began."""


class EngineRecord(Message, frozen=True, kw_only=True):
    """An engine process as its agent started it, so that a later agent can adopt or end it."""

    engine: EngineId
    node: NodeId
    pid: int
    started_s: float
    """Unix time at which the operating system says the process began, by the clock of then."""
    source: str
    """The model folder or Hugging Face id it was told to load."""
    models: tuple[ModelId, ...] = ()
    """What it serves, once it has loaded."""
    life: int = 0
    """Of its placement, when it was started."""
    boot: str = ""
    """Of the process, which has it in its environment: with ``pid`` it is unique."""
