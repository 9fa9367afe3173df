from base64 import b64encode

import pytest

from services.gateway.images.data_url import Unusable, decode, is_data_url
from services.gateway.images.kind import media_type

BYTES = b"\x89PNG\r\n\x1a\n and more"


def url(data=BYTES, head="data:image/png;base64,"):
    return head + b64encode(data).decode()


@pytest.mark.parametrize(
    "head",
    [
        "data:image/png;base64,",
        "DATA:IMAGE/PNG;BASE64,",
        "data:image/jpg;base64,",
        "data:image/webp;name=a.webp;base64,",
    ],
)
def test_its_bytes_come_out(head):
    assert is_data_url(url(head=head))
    assert decode(url(head=head), 100) == BYTES


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:", "no comma"),
        ("data:application/pdf;base64,AAAA", "declares application/pdf"),
        ("data:;base64,AAAA", "declares no media type"),
        ("data:image/svg+xml;base64,AAAA", "declares image/svg"),
        ("data:image/png,%89PNG", "not base64"),
        ("data:image/png;base64,AAA", "base64 is broken"),
        ("data:image/png;base64,AA AA", "base64 is broken"),
        ("data:image/png;base64,AAAA\n", "base64 is broken"),
        ("data:image/png;base64,AA-_", "base64 is broken"),
        ("data:image/png;base64,ÄÖÜ=", "base64 is broken"),
        (url(bytes(200)), "more than 100 bytes"),
    ],
)
def test_what_is_wrong_with_it_is_said(text, why):
    with pytest.raises(Unusable, match=why):
        decode(text, 100)


def test_the_limit_is_the_bytes_own():
    assert len(decode(url(bytes(100)), 100)) == 100


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (BYTES, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"GIF87a...", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"%PDF-1.7", None),
        (b"<svg>", None),
        (b"", None),
    ],
)
def test_bytes_say_themselves_what_they_are(data, kind):
    assert media_type(data) == kind
