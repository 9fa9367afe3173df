"""What all keepers are asked for."""

from typing import Protocol

from msgspec import Struct

from ops.remote.layout import Layout

STOP_S = 30
"""Till a node has ended that was asked to; its agent has 4 s for what runs, its supervisor 10."""


class Run(Struct, frozen=True, kw_only=True):
    """One node, as it is to run."""

    node: str
    layout: Layout
    user_home: str
    user_id: int
    arguments: tuple[str, ...] = ()
    """Of ``odyssai join``, besides where and who it is."""

    @property
    def argv(self) -> tuple[str, ...]:
        place = ("--home", self.layout.home, "--node", self.node)
        return (self.layout.odyssai, "join", *place, *self.arguments)

    @property
    def is_root(self) -> bool:
        return self.user_id == 0


class Unit(Struct, frozen=True):
    """A file that tells a keeper of the node."""

    path: str
    text: str


class Keeper(Protocol):
    """Each command is a script for sh."""

    def unit(self, run: Run) -> Unit: ...

    def start(self, run: Run) -> str:
        """As the unit says now, also at the next boot; where it runs already: anew."""

    def stop(self, run: Run) -> str:
        """Until it has ended; no error where it does not run."""

    def is_running(self, run: Run) -> str:
        """Ends with status 0 if it is."""

    def forget(self, run: Run) -> str:
        """After ``stop``: the keeper knows nothing of it any more."""
