"""What this process could not read, as its heartbeats tell it."""

import logging
from typing import NamedTuple

from proto.presence import Unreadable

log = logging.getLogger(__name__)

MOST_TOLD = 20
"""Records in a heartbeat."""
LOGGED = 1000
"""Malformed messages of which each is logged; of more, one in so many."""


class UnreadRecord(NamedTuple):
    """What is in the place of a record."""

    revision: int
    why: str
    is_foreign: bool
    """It is well formed, only not as this version knows it."""


class UnreadLedger:
    """Malformed messages are counted, records of shared state are named as long as they are so."""

    def __init__(self) -> None:
        self.messages = 0
        self._records: dict[str, int] = {}
        """By bucket and key: the revision that cannot be read."""

    def message(self, subject: str, why: object) -> None:
        self.messages += 1
        if self.messages <= LOGGED or self.messages % LOGGED == 0:
            log.warning("dropped a malformed message on %s: %s", subject, why)

    def record(self, name: str, revision: int, why: object) -> None:
        """``name`` is ``bucket/key``. Each revision is logged once, however often it is read."""
        if self._records.get(name) != revision:
            self._records[name] = revision
            log.error(
                "the record %s cannot be read and is ignored: %s; "
                "`odyssai state --drop %s` removes it",
                name, why, name,
            )  # fmt: skip

    def mended(self, name: str) -> None:
        """It can be read again, or is gone."""
        if self._records.pop(name, None) is not None:
            log.info("the record %s is ignored no longer", name)

    def told(self) -> Unreadable:
        return Unreadable(messages=self.messages, records=tuple(sorted(self._records)[:MOST_TOLD]))
