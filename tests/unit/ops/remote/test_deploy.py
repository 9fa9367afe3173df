"""What is to be on a machine, by what was typed and by what is there."""

import argparse

import pytest
from msgspec.structs import replace

from ops.remote.deploy import Names, told, wanted_of
from ops.remote.errors import Refused
from ops.remote.host import Host
from ops.remote.layout import Deployed, Layout
from ops.remote.preflight import Machine
from ops.remote.session import Session
from ops.remote.site import Site

MACHINE = Machine(system="Darwin", machine="arm64", home="/h", folder="/h/n", keeper="launchd")
BEFORE = Deployed(mesh="m", node="studio", keeper="process", models=("a/b",), memory="24GB")
NOTHING_SAID = argparse.Namespace(keeper=None, model=None, memory=None)


def site(deployed: Deployed | None) -> Site:
    nowhere = Session(Host(name="studio"), None)  # type: ignore[arg-type]
    return Site(
        session=nowhere, machine=MACHINE, layout=Layout("/h/n"), deployed=deployed, findings=()
    )


def test_a_machine_gets_the_keeper_that_it_has_and_what_is_loaded_there() -> None:
    wanted = wanted_of(NOTHING_SAID, site(None), "m", "studio")

    assert wanted == Deployed(mesh="m", node="studio", keeper="launchd")
    assert wanted.arguments == ("--model", "none")


def test_what_is_not_said_stays_as_it_was() -> None:
    assert wanted_of(NOTHING_SAID, site(BEFORE), "m", "studio") == BEFORE

    more = argparse.Namespace(keeper=None, model=None, memory="75%")
    wanted = wanted_of(more, site(BEFORE), "m", "studio")
    assert wanted == replace(BEFORE, memory="75%")
    assert wanted.arguments == ("--model", "a/b", "--memory", "75%")


def test_two_machines_of_one_name_are_told_apart() -> None:
    names = Names()
    names.take("mac", "anna@10.0.0.7")

    with pytest.raises(Refused, match=r"anna@10\.0\.0\.7 is called mac as well.*NAME=10\.0\.0\.8"):
        names.take("mac", "10.0.0.8")


def test_where_nothing_was_done_that_is_said() -> None:
    assert told([]).startswith("Nothing to do")
    assert told(["let in", "started"]) == "let in, started; it serves."
