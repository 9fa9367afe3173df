"""One line says where a bus is and how one gets in."""

from pathlib import Path

import pytest

from bus.address import Address
from bus.errors import NotConnected
from proto.credentials import Holder


def test_a_plain_url_is_an_address() -> None:
    address = Address.parse("nats://mesh:secret@a:1,nats://mesh:secret@b:2")

    assert address.servers == ("nats://mesh:secret@a:1", "nats://mesh:secret@b:2")
    assert address.dialled("gateway:g")["inbox_prefix"] == "_INBOX.gateway.g"
    assert "tls" not in address.dialled("gateway:g")


def test_what_is_shown_holds_no_password() -> None:
    assert Address.parse("nats://mesh:secret@a:1,nats://b:2?name=n").shown == "a:1,b:2"


def test_paths_of_any_kind_are_read_back() -> None:
    files = Path("/my home/s&ed,1"), Path("/ca?.pem")
    address = Address(("nats://a:1",), *files, Holder("gateway", "home"), "odyssai-1")

    assert Address.parse(str(address)) == address


def test_a_holder_hears_answers_where_its_credential_says() -> None:
    address = Address.parse("nats://a:1?as=gateway.home")

    assert address.holder == Holder("gateway", "home")
    assert address.dialled("tokens:g")["inbox_prefix"] == "_INBOX.gateway.home.tokens.g"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nats://a:1?sed=/x", "'sed'"),
        ("nats://a:1?seed=/no/such/file", "/no/such/file"),
        ("nats://a:1?as=king.home", "king.home"),
        ("nats://a:1?as=gateway", "gateway"),
        ("nats://a:1?ca=/no/such/file", "No such file"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, word: str) -> None:
    with pytest.raises(NotConnected, match=word):
        Address.parse(text).dialled("x:y")
