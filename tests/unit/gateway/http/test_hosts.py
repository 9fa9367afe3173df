import socket

import pytest

from proto.errors import Code, MeshError
from services.gateway.http.hosts import Hosts, told_hosts
from services.host import SettingError

LOCAL = Hosts.of("127.0.0.1", "127.0.0.1", frozenset())
EVERYWHERE = Hosts.of("0.0.0.0", "0.0.0.0", frozenset())


def code(hosts: Hosts, header: str) -> Code | None:
    try:
        hosts.check(header)
    except MeshError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    "header",
    ["localhost", "localhost.", "app.localhost:80", "127.0.0.1:8000", "[::1]", "0.0.0.0:8000"],
)
def test_names_of_this_machine_are_answered_to_everywhere(header):
    assert code(LOCAL, header) is None
    assert code(EVERYWHERE, header) is None


@pytest.mark.parametrize("header", ["host.docker.internal:8000", "host.containers.internal"])
def test_containers_reach_the_loopback_of_their_host_under_its_name(header):
    assert code(LOCAL, header) is None


@pytest.mark.parametrize(
    "header", ["studio.local", "studio", "10.0.0.7", "[fd00::7]", "any.internal", "example.com"]
)
def test_loopback_has_no_other_names(header):
    assert code(LOCAL, header) is Code.MISDIRECTED


@pytest.mark.parametrize(
    "header",
    ["10.0.0.7:8000", "203.0.113.9", "[2001:db8::7]:8000", "studio", "STUDIO.local:8000",
     "studio.lan", "studio.home.arpa", "mesh.internal", socket.gethostname()],
)  # fmt: skip
def test_beyond_loopback_addresses_and_names_nobody_can_register_are_answered_to(header):
    assert code(EVERYWHERE, header) is None


@pytest.mark.parametrize(
    "header", ["example.com", "studio.local.example.com", "10.0.0.7.nip.io", "xlocal.example"]
)
def test_names_that_anybody_may_register_are_not(header):
    assert code(EVERYWHERE, header) is Code.MISDIRECTED


def test_the_name_that_the_gateway_was_bound_by_is_its_own():
    assert code(Hosts.of("Mesh.Example.com", "192.0.2.1", frozenset()), "mesh.example.com") is None


@pytest.mark.parametrize(
    ("told", "header", "is_taken"),
    [
        ("mesh.example.com", "mesh.example.com:443", True),
        ("mesh.example.com", "x.mesh.example.com", False),
        ("*.example.com, 10.0.0.7", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("10.0.0.7,[fd00::7]", "10.0.0.7", True),
        ("10.0.0.7,[fd00::7]", "[fd00::7]:1", True),
        ("*", "anything.example", True),
    ],
)
def test_the_operator_may_name_more(monkeypatch, told, header, is_taken):
    monkeypatch.setenv("ODYSSAI_ALLOWED_HOSTS", told)

    hosts = Hosts.of("127.0.0.1", "127.0.0.1", told_hosts())

    assert (code(hosts, header) is None) is is_taken


@pytest.mark.parametrize("told", ["https://a", "a/b", "a.example:80", "a b", "a.*"])
def test_what_is_no_host_ends_the_start(monkeypatch, told):
    monkeypatch.setenv("ODYSSAI_ALLOWED_HOSTS", told)

    with pytest.raises(SettingError, match="ODYSSAI_ALLOWED_HOSTS"):
        told_hosts()


@pytest.mark.parametrize(
    "header", ["", "a b", "a,b", "a@b", "[::1", "::1", "a:b", "caf\xe9", "a\n"]
)
def test_what_is_no_host_is_invalid(header):
    assert code(EVERYWHERE, header) is Code.INVALID_REQUEST
