"""What jaccl's errors mean, and what to do about them.

The numbers are those that two M3 Ultras gave on macOS 26; jaccl says no more than a number.
"""

import re

_NUMBER = re.compile(r"\[jaccl\].*?(?:errno|error|status)\D{0,3}(\d+)", re.IGNORECASE)
_NO_DOMAIN = re.compile(r"\[jaccl\].*protection domain", re.IGNORECASE)
_RUNBOOK = "see docs/jaccl.md"

_MEANT = {
    16: "all ten queue pairs of an RDMA device are used, by whatever process: end other engines of "
    "several nodes there, or any program that uses RDMA",
    22: "a wrong address index (GID) on the RDMA device: give its Thunderbolt interface an address "
    "of its own, outside of any bridge",
    60: "the other machine cannot be reached over this cable: `rdma_to` names the wrong device at "
    "one end, or an interface is down there",
    102: "the RDMA device does not have what was asked of it: all machines need the same macOS",
}
_DOWN = (
    "the RDMA device's port is down: see that the cable is in at both ends and that its interface "
    "is up (`ibv_devinfo` says PORT_ACTIVE)"
)


def diagnosed(words: str) -> str:
    """The words, with what they mean where they are of a fault that is known."""
    meant = _meaning(words)
    return f"{meant}; {_RUNBOOK} ({words})" if meant else words


def _meaning(words: str) -> str:
    if _NO_DOMAIN.search(words) or "PORT_DOWN" in words:
        return _DOWN
    number = _NUMBER.search(words)
    return _MEANT.get(int(number[1]), "") if number else ""
