"""An agent that starts itself anew and leaves its engines running, as an upgrade wants it."""

import asyncio
import logging
import os
import sys
from typing import NoReturn

from proto.jobs import AgentRestarts, RestartAgent

log = logging.getLogger(__name__)


class Restart:
    """Whether the agent was asked to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def answer(self, _: RestartAgent) -> AgentRestarts:
        self.asked.set()
        return AgentRestarts()


def begin_anew() -> NoReturn:
    """The same command in the same process, with the code as it is now.

    The process keeps its number, so a supervisor notices nothing, and it keeps
    its children, which the next life finds by their records. The lifeline is
    inherited, all other descriptors close. Threads end where they are: none is
    waited for, since engines end when they hear no agent for long.
    """
    log.info("starting anew")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
