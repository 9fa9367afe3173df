"""What a job asks of others than through plans."""

from bus.connection import Bus
from bus.errors import BusError, NobodyThere
from proto.enrolment import SetLoaded
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.jobs import RestartAgent
from proto.joining import Revoke
from proto.subjects import RESTART_AGENT, REVOKE, SET_LOADED
from services.scheduler.jobs.step import SetLoadedElsewhere


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


async def set_loaded(bus: Bus, act: SetLoadedElsewhere) -> None:
    """Raises MeshError and BusError."""
    asked = SetLoaded(model=act.model, is_loaded=act.is_loaded)
    await bus.ask(SET_LOADED, asked, act.engine)


async def revoke(bus: Bus, node: NodeId) -> str:
    """Withdraw a node's key; what is to be said of it. Raises MeshError and BusError."""
    try:
        answer = await bus.ask(REVOKE, Revoke(node=node))
    except NobodyThere:
        return (
            "its credential was not withdrawn, since no keeper of the bus runs: "
            "change the bus's own settings if it must not come back"
        )
    if answer.was_member:
        return "its credential is withdrawn"
    return "it has no credential of its own: an agent that still runs there comes back"
