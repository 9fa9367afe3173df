"""Who types: the name under which acts are written down in the audit log."""

import getpass
import os
import socket

from bus.audit import AuditLog
from bus.connection import Bus
from proto.audit import Actor


def operator() -> Actor:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # A user without a name, as in some containers.
        user = str(os.getuid())
    return Actor(name=f"{user}@{socket.gethostname()}")


def audit_log(bus: Bus) -> AuditLog:
    """For what this command does itself, and asks nobody to do."""
    return AuditLog(bus)
