"""Keepers by name."""

from ops.remote.keeper.keeper import Keeper
from ops.remote.keeper.launchd import Launchd
from ops.remote.keeper.process import Process
from ops.remote.keeper.systemd import Systemd

KEEPERS: dict[str, Keeper] = {"launchd": Launchd(), "systemd": Systemd(), "process": Process()}
