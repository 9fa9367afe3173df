"""Machines as they are typed."""

import pytest

from ops.remote.host import BadHost, Host


@pytest.mark.parametrize(
    ("typed", "node", "host"),
    [
        ("studio", None, Host(name="studio")),
        ("anna@studio.local", None, Host(name="studio.local", user="anna")),
        ("mini=anna@10.0.0.7:2222", "mini", Host(name="10.0.0.7", user="anna", port=2222)),
        ("[fd00::7]:22", None, Host(name="fd00::7", port=22)),
    ],
)
def test_a_machine_is_read_as_ssh_knows_it(typed: str, node: str | None, host: Host) -> None:
    assert Host.read(typed) == (node, host)
    assert Host.read(str(host)) == (None, host)


@pytest.mark.parametrize(
    "typed", ["", "anna@", "-oProxyCommand=x", "studio:0", "studio:99999", "a b", "Big_Node=studio"]
)
def test_what_is_no_machine_is_refused(typed: str) -> None:
    with pytest.raises(BadHost):
        Host.read(typed)
