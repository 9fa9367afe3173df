"""The hub's tokens of gated models: kept in memory, told to the nodes that fetch, nowhere else."""

import logging
from collections.abc import Iterable

from bus.connection import Bus
from bus.errors import BusError
from proto.errors import MeshError
from proto.ids import JobId, NodeId
from proto.store import Entrust
from proto.subjects import ENTRUST

log = logging.getLogger(__name__)


class HubTokens:
    """Tokens by job. Lost with the leader: nodes keep theirs as long as they fetch."""

    def __init__(self) -> None:
        self._tokens: dict[JobId, str] = {}
        self._told: set[tuple[JobId, NodeId]] = set()

    def keep(self, job: JobId, token: str) -> None:
        if token:
            self._tokens[job] = token

    def drop(self, job: JobId) -> None:
        self._tokens.pop(job, None)
        self._told = {told for told in self._told if told[0] != job}

    async def hand_over(self, bus: Bus, job: JobId, nodes: Iterable[NodeId]) -> None:
        """Before a node is told to fetch. A node that does not answer fetches with its own token,
        if it has one, and says what it lacks.
        """
        token = self._tokens.get(job)
        if token is None:
            return
        for node in nodes:
            if (job, node) in self._told:
                continue
            try:
                await bus.ask(ENTRUST, Entrust(job=job, token=token), node)
                self._told.add((job, node))
            except (BusError, MeshError) as error:
                log.warning("%s did not take the token of job %s: %s", node, job, error)
