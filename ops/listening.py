"""The socket of this machine's gateway, held by its supervisor over all the gateway's lives.

What connects while no gateway is there waits in its queue, and is answered by the next.
"""

import errno
import socket

BACKLOG = 4096


class NotListening(Exception):
    """The address cannot be had; the message says what to do."""


def listen(host: str, port: int) -> socket.socket:
    """Raises NotListening."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} on {host} is taken; choose another with --port"
        else:
            why = f"port {port} on {host or 'any address'} cannot be had: {error.strerror or error}"
        raise NotListening(why) from error
