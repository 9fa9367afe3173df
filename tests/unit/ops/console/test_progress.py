"""How far a job is, in words and bars."""

import asyncio
import os
import pty
import sys
from contextlib import suppress

import pytest

from ops.console.progress import figures
from ops.up import ROOT
from tests.scripted_leader import ScriptedLeader


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ((0, None, None, None), ""),
        ((0, 4e9, None, None), "0 MB of 4.0 GB"),
        ((1e9, 4e9, 85e6, 35.0), "1.0 GB of 4.0 GB · 85 MB/s · 35 s left"),
        ((1e9, 40e9, 5e6, 7800.0), "1.0 GB of 40.0 GB · 5 MB/s · 2 h left"),
        ((4e9, 4e9, 85e6, 0.0), "4.0 GB of 4.0 GB · 85 MB/s"),
    ],
)
def test_figures_are_told_as_far_as_they_are_known(
    known: tuple[float, float | None, float | None, float | None], told: str
) -> None:
    assert figures(*known) == told


async def test_a_terminal_shows_a_bar_with_bytes(nats_url: str, leader: ScriptedLeader) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.command", "pull", "org/new", "--nats", nats_url,
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    job = await leader.followed_job()
    await leader.fetch(job.id, 3_000_000_000, 4_000_000_000)
    await leader.tell(job.id, state="done", detail="pulled to studio-1")

    shown = await asyncio.to_thread(_all_of, ours)
    assert await process.wait() == 0
    assert "studio-1 fetching" in shown
    assert "━" in shown
    assert "3.0 GB of 4.0 GB" in shown
    assert shown.rstrip().endswith("pulled to studio-1")


def _all_of(terminal: int) -> str:
    """What was written to it until everybody closed it, which a terminal tells as an error."""
    said = b""
    with suppress(OSError):
        while piece := os.read(terminal, 4096):
            said += piece
    os.close(terminal)
    return said.decode()
