"""What the head of a request must be before anything is done for it.

llhttp has refused most of what two servers could read differently; this is the rest.
"""

from collections import Counter

from proto.dialects.asked import invalid
from proto.errors import Code, MeshError
from services.gateway.http.exchange import Scope
from services.gateway.http.hosts import Hosts

LARGEST_HEAD = 64 << 10
"""Bytes of all headers, and of whatever else comes between two bodies."""
MOST_HEADERS = 128
LONGEST_URL = 16 << 10
SINGLE = {
    b"authorization",
    b"content-length",
    b"content-type",
    b"host",
    b"origin",
    b"transfer-encoding",
    b"x-api-key",
}
"""Who sends one of these twice may mean the one to a proxy and the other to us."""


def expect_sound(scope: Scope, hosts: Hosts) -> None:
    """Raises MeshError. The connection is not to be used again then."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    _expect_bounded(scope, headers)
    _expect_plain(scope, headers)
    host = dict(headers).get(b"host")
    if host is not None:
        hosts.check(host.decode("latin-1"))
    elif scope["http_version"] == "1.1":
        raise invalid("The request has no Host header; send the gateway's own name.")


def _expect_bounded(scope: Scope, headers: list[tuple[bytes, bytes]]) -> None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_URL:
        raise MeshError(
            Code.URL_TOO_LONG, f"The URL has more than {LONGEST_URL} bytes; shorten it."
        )
    if len(headers) > MOST_HEADERS or sum(len(k) + len(v) for k, v in headers) > LARGEST_HEAD:
        raise headers_too_large()


def _expect_plain(scope: Scope, headers: list[tuple[bytes, bytes]]) -> None:
    if scope["http_version"] not in ("1.0", "1.1"):
        raise invalid("HTTP/1.1 and 1.0 are spoken here; use one of them.")
    if len({name for name, _ in headers}) < len(headers):
        counts = Counter(name for name, _ in headers)
        for name in sorted(SINGLE & counts.keys()):
            if counts[name] > 1:
                raise invalid(f"The header {name.decode()} comes {counts[name]} times; send one.")
    for name, value in headers:
        is_old = scope["http_version"] == "1.0"
        if name == b"transfer-encoding" and (is_old or value.lower() != b"chunked"):
            raise invalid("Of transfer-encodings only chunked is read, and in HTTP/1.1 only.")


def headers_too_large() -> MeshError:
    return MeshError(
        Code.HEADERS_TOO_LARGE,
        f"The headers are more than {MOST_HEADERS}, or more than {LARGEST_HEAD} bytes; "
        "send fewer, and large things in the body.",
    )
