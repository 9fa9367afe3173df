"""How operators write where a bus server is."""

import pytest

from bus.cluster import Seat


@pytest.mark.parametrize(
    ("text", "seat"),
    [
        ("bus-1.local", Seat(host="bus-1.local", port=4222, route_port=6222)),
        ("10.0.0.1:4300", Seat(host="10.0.0.1", port=4300, route_port=6222)),
        ("10.0.0.1:4300:6300", Seat(host="10.0.0.1", port=4300, route_port=6300)),
        ("[fe80::1]", Seat(host="fe80::1", port=4222, route_port=6222)),
        ("[fe80::1]:4300:6300", Seat(host="fe80::1", port=4300, route_port=6300)),
    ],
)
def test_ports_may_be_left_out(text: str, seat: Seat) -> None:
    assert Seat.parse(text) == seat


@pytest.mark.parametrize("text", ["", ":4222", "a:b", "a:0", "a:1:2:3", "a:99999"])
def test_what_is_no_server_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write HOST, HOST:4222 or HOST:4222:6222"):
        Seat.parse(text)
