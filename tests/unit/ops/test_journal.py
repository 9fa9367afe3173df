"""What a program prints is kept, shown and bounded."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops import journal
from ops.journal import Journal


@pytest.fixture
async def echoed() -> list[str]:
    return []


@pytest.fixture
async def log(tmp_path: Path, echoed: list[str]) -> AsyncIterator[Journal]:
    log = Journal(tmp_path / "service.log", echoed.append)
    yield log
    log.close()


async def until(lines: list[str], count: int) -> None:
    async with asyncio.timeout(5):
        while len(lines) < count:
            await asyncio.sleep(0)


async def test_lines_reach_the_file_and_the_terminal(log: Journal, echoed: list[str]) -> None:
    os.write(log.inlet, "één\ntwo\nhal".encode())
    os.write(log.inlet, b"f\n")
    await until(echoed, 3)

    assert echoed == ["één", "two", "half"]
    assert log.path.read_text() == "één\ntwo\nhalf\n"
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


async def test_the_tail_holds_the_last_lines_only(log: Journal, echoed: list[str]) -> None:
    os.write(log.inlet, b"".join(b"%d\n" % line for line in range(50)))
    await until(echoed, 50)

    assert list(log.tail) == [str(line) for line in range(50 - journal.TAIL_LINES, 50)]


async def test_a_full_file_is_put_aside_once(
    log: Journal, echoed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MAX_BYTES", 10)
    for count, line in enumerate((b"first first\n", b"second second\n", b"third\n"), 1):
        os.write(log.inlet, line)
        await until(echoed, count)

    assert log.path.read_text() == "third\n"
    assert log.path.with_name("service.log.1").read_text() == "second second\n"


async def test_what_was_written_last_is_not_lost(tmp_path: Path) -> None:
    log = Journal(tmp_path / "service.log")
    os.write(log.inlet, b"last words\n")
    log.close()

    assert log.path.read_text() == "last words\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
async def test_on_a_full_disk_it_is_shown_all_the_same_and_said_once(tmp_path: Path) -> None:
    (tmp_path / "service.log").symlink_to("/dev/full")
    echoed: list[str] = []
    log = Journal(tmp_path / "service.log", echoed.append)
    os.write(log.inlet, b"one\n")
    await until(echoed, 2)
    os.write(log.inlet, b"two\n")
    await until(echoed, 3)
    log.close()

    assert "No space left" in echoed[0]
    assert echoed[1:] == ["one", "two"]
