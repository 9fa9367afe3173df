"""Headers that keep answers from being taken for something else in a browser."""

from services.gateway.http.exchange import Headers

ALWAYS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
"""Answers are data: nothing in them is run, shown in a frame, or embedded by another page."""
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
"""Said over TLS beyond loopback only: on localhost it would hold for every other port, too."""
