"""What a job asks of others than through plans."""

from bus.connection import Bus
from bus.errors import BusError
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.jobs import RestartAgent
from proto.subjects import RESTART_AGENT
from services.scheduler.known import Known
from services.scheduler.plans import Plans


async def restart_agent(bus: Bus, node: NodeId) -> None:
    """Raises MeshError."""
    try:
        await bus.ask(RESTART_AGENT, RestartAgent(node=node), node)
    except BusError as error:
        raise MeshError(
            Code.NO_ENGINE,
            f"The agent of {node} does not answer ({error}): is it running there?",
            param="node",
        ) from error


async def forget_node(bus: Bus, known: Known, plans: Plans, node: NodeId) -> str:
    """Withdraw its credential, delete its records; what is to be said of it.

    Raises MeshError when the keeper of the bus refuses, BusError when state cannot be written.
    """
    await plans.forget(node)
    await known.stores.delete(node)
    return ""
