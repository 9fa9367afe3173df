"""The socket at which clients connect: this process's own, or one that its supervisor holds."""

import errno
import socket

from services.host import SettingError, number

BACKLOG = 4096


def listener(host: str, port: int) -> socket.socket:
    """Raises SettingError when the address cannot be had."""
    inherited = int(number("ODYSSAI_LISTEN_FD", -1, -1))
    found = listen(host, port) if inherited < 0 else socket.socket(fileno=inherited)
    found.setblocking(False)
    return found


def listen(host: str, port: int) -> socket.socket:
    """Raises SettingError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "another process has it; choose another ODYSSAI_PORT" if taken else "check both"
        raise SettingError(
            f"ODYSSAI_HOST {host!r} and ODYSSAI_PORT {port} cannot be listened on: "
            f"{error.strerror or error}; {remedy}"
        ) from error
