"""A machine as it is typed: ``[NODE=][user@]host[:port]``."""

import re

from msgspec import Struct

from proto.joining import NODE_PATTERN

_TYPED = re.compile(
    r"(?:(?P<node>[^=@]*)=)?(?:(?P<user>[^@:]+)@)?"
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.%\w]+)\]|(?P<name>[^@:\[\]\s]+))(?::(?P<port>\d+))?"
)


class BadHost(ValueError):
    """The text names no machine."""


class Host(Struct, frozen=True, kw_only=True):
    """Where ssh goes. What is not said is as ssh's own settings (``~/.ssh/config``) say."""

    name: str
    """A name, an address, or a ``Host`` of ssh's settings."""
    user: str | None = None
    port: int | None = None

    @classmethod
    def read(cls, text: str) -> tuple[str | None, "Host"]:
        """With the node's name, where one is given. Raises BadHost."""
        found = _TYPED.fullmatch(text)
        if found is None or (found["name"] or "").startswith("-"):
            raise BadHost(f"{text} is no machine; write user@host, or NAME=user@host:port")
        node, port = found["node"], int(found["port"] or 22)
        if node is not None and not re.fullmatch(NODE_PATTERN, node):
            raise BadHost(f"{node!r} is no name for a node: a-z, 0-9 and - between them")
        if not 0 < port < 65536:
            raise BadHost(f"{port} is no port")
        host = cls(
            name=found["bracketed"] or found["name"],
            user=found["user"],
            port=port if found["port"] else None,
        )
        return node, host

    def __str__(self) -> str:
        at = f"{self.user}@" if self.user else ""
        return f"{at}{self.place}"

    @property
    def place(self) -> str:
        """Without the user."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}:{self.port}" if self.port else name
