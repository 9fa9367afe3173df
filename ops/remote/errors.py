"""What goes wrong on the way to another machine. The messages say what to do.

RemoteError
├── Unreachable       nobody answers, or the connection was lost
├── UnknownHostKey    known_hosts knows no key of that machine
├── ChangedHostKey    known_hosts knows another
├── NotVerified       somebody's ssh settings switch the check off
├── NotLetIn          the machine knows none of our keys
├── CommandFailed     something that we ran there ended badly, or not in time
├── Unfit             the machine cannot be a node
├── Foreign           what lies there is not of this mesh, or not ours
├── NotDeployed       no such node was deployed from here
├── NotBuilt          there is nothing to install
├── NotSeen           it was started, and the mesh hears nothing of it
└── Refused           what was asked for would do harm
"""


class RemoteError(Exception):
    """Something on another machine went wrong."""


class Unreachable(RemoteError):
    pass


class UnknownHostKey(RemoteError):
    pass


class ChangedHostKey(RemoteError):
    pass


class NotVerified(RemoteError):
    pass


class NotLetIn(RemoteError):
    pass


class CommandFailed(RemoteError):
    pass


class Unfit(RemoteError):
    pass


class Foreign(RemoteError):
    pass


class NotDeployed(RemoteError):
    pass


class NotBuilt(RemoteError):
    pass


class NotSeen(RemoteError):
    pass


class Refused(RemoteError):
    pass
