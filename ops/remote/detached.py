"""Runs on a node's machine: a program that goes on when the session that started it is over.

`python -m ops.remote.detached start|stop|status FILE`. Beside FILE, which says what to run, stands
who runs: by number and start time, so that nobody else with that number is taken for it.
"""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

LOOK_S = 0.05
STOP_S = 25.0
"""A supervisor takes ten at most."""


class Started(Struct, frozen=True, kw_only=True):
    """What FILE says."""

    argv: tuple[str, ...]
    folder: str
    log: str


class Running(Struct, frozen=True):
    """Who was started."""

    pid: int
    started_s: float


def main(argv: list[str]) -> int:
    act, file = argv[0], Path(argv[1])
    match act:
        case "start":
            stop(file)
            start(file)
        case "stop":
            stop(file)
        case "status":
            return 0 if running(file) else 1
    return 0


def start(file: Path) -> None:
    wanted = msgspec.json.decode(file.read_bytes(), type=Started)
    log = Path(wanted.log)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            wanted.argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=wanted.folder,
            start_new_session=True,
        )
    began = psutil.Process(process.pid).create_time()
    _sign(file).write_bytes(msgspec.json.encode(Running(process.pid, began)))


def stop(file: Path) -> None:
    """Asked first; what is below it ends with it, since it holds their lifeline."""
    process = running(file)
    if process is not None:
        process.terminate()
        if not _ends(file, STOP_S):
            process.kill()
            _ends(file, STOP_S)
    _sign(file).unlink(missing_ok=True)


def _ends(file: Path, within_s: float) -> bool:
    """A corpse has ended: in a container there may be nobody who buries it."""
    end = time.monotonic() + within_s
    while running(file) is not None:
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_S)
    return True


def running(file: Path) -> psutil.Process | None:
    """None where it ended, also when its number is somebody else's by now."""
    try:
        known = msgspec.json.decode(_sign(file).read_bytes(), type=Running)
        process = psutil.Process(known.pid)
        is_it = abs(process.create_time() - known.started_s) < 1.0
        return process if is_it and process.status() != psutil.STATUS_ZOMBIE else None
    except (FileNotFoundError, msgspec.DecodeError, psutil.NoSuchProcess):
        return None


def _sign(file: Path) -> Path:
    return file.with_suffix(".pid")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
