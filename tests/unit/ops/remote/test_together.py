"""Many machines: what fails at one, and how all of it is shown."""

import asyncio
import json
from collections.abc import Callable

import pytest

from ops.remote import progress, together
from ops.remote.errors import RemoteError
from ops.remote.progress import Standing
from ops.remote.together import Work


def works(log: list[str]) -> Work:
    async def work(standing: Standing, changed: Callable[[], None]) -> str:
        log.append(standing.host)
        standing.step = "installing"
        changed()
        return "it serves"

    return work


async def fails(standing: Standing, changed: Callable[[], None]) -> str:
    raise RemoteError("the disk is full")


async def test_one_that_fails_does_not_concern_the_others() -> None:
    log: list[str] = []
    hosts = [Standing(host="a"), Standing(host="b"), Standing(host="c")]
    work = list(zip(hosts, (works(log), fails, works(log)), strict=True))

    assert await together.all_at_once(work, lambda _: None) == 1

    assert log == ["a", "c"]
    assert [each.state for each in hosts] == ["done", "failed", "done"]
    assert hosts[1].step == "the disk is full"


async def test_one_by_one_the_first_that_fails_is_the_last() -> None:
    log: list[str] = []
    hosts = [Standing(host="a"), Standing(host="b"), Standing(host="c")]
    work = list(zip(hosts, (works(log), fails, works(log)), strict=True))

    assert await together.one_by_one(work, lambda _: None) == 1

    assert log == ["a"]
    assert [each.step for each in hosts] == ["it serves", "the disk is full", "left as it is"]


async def test_machines_are_worked_on_at_once() -> None:
    both = asyncio.Barrier(2)

    async def meets(standing: Standing, changed: Callable[[], None]) -> str:
        await asyncio.wait_for(both.wait(), 5)
        return "met"

    work = [(Standing(host="a"), meets), (Standing(host="b"), meets)]
    assert await together.all_at_once(work, lambda _: None) == 0


def test_a_log_has_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    studio = Standing(host="anna@studio", node="studio", step="installing")
    with progress.shown(as_json=False) as show:
        show(studio)
        show(studio)
        together.end(studio, "failed", "the disk is full", show)

    said = capsys.readouterr()
    assert said.out == "studio: installing\n"
    assert said.err == "studio: the disk is full\n"


def test_programs_get_a_record_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    studio = Standing(host="anna@studio", step="connecting")
    with progress.shown(as_json=True) as show:
        show(studio)
        together.end(studio, "done", "it serves", show)

    first, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["state"], first["step"]) == ("running", "connecting")
    assert (last["host"], last["state"], last["step"]) == ("anna@studio", "done", "it serves")


def test_the_table_has_a_row_for_each_machine(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.table() as show:
        show(Standing(host="anna@studio", node="studio", step="installing", machine="Apple M3"))
        show(Standing(host="anna@mini", state="failed", step="[the disk] is full"))

    drawn = capsys.readouterr().out
    assert "[the disk] is full" in drawn
    (row,) = [line for line in drawn.splitlines() if "anna@studio" in line][-1:]
    assert "Apple M3" in row
    assert "installing" in row
