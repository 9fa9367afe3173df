"""An agent that starts itself anew and leaves its engines running, as an upgrade wants it."""

import asyncio
import logging
import os
import sys
from typing import NoReturn

from proto.jobs import AgentRestarts, RestartAgent

log = logging.getLogger(__name__)


class Restart:
    """Whether this life of the agent is to be followed by another, in the same process."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    @property
    def is_due(self) -> bool:
        return self.asked.is_set()

    async def answer(self, _: RestartAgent) -> AgentRestarts:
        self.asked.set()
        return AgentRestarts()


def begin_anew() -> NoReturn:
    """The same command in the same process, with the code as it is now.

    The process keeps its number, so a supervisor notices nothing, and it keeps
    its children, which the next life finds by their records. The lifeline is
    inherited; all other descriptors close.
    """
    log.info("starting anew")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
