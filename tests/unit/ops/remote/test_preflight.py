"""What a machine says of itself, and whether that is enough."""

import re
import subprocess
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from ops.remote import preflight, site
from ops.remote.preflight import Finding, Machine, judge, read

NOW_S = 1_795_000_000.0
STUDIO = """\
system=Darwin
machine=arm64
hostname=studio.local
user_id=501
home=/Users/anna
folder=/Users/anna/.odyssai-node
clock_s=1795000000
release=macOS 15.3.1
chip=Apple M3 Ultra
memory_bytes=549755813888
wired_limit_mb=0
boot=6B1F2A50-8D13-4B3A-9B0E-1F6A4F0C77AA
free_bytes=812000000000
is_writable=yes
uv=
other_python=3.9.6
python=/opt/homebrew/bin/python3.13
python_version=3.13.2
keeper=launchd
"""


@pytest.fixture
def studio() -> Machine:
    return read(STUDIO)


def sentences(machine: Machine, now_s: float = NOW_S) -> list[tuple[str, str]]:
    return [(each.level, each.sentence) for each in judge(machine, now_s)]


def test_a_mac_studio_can_be_a_node(studio: Machine) -> None:
    assert sentences(studio) == []
    assert studio.described == "macOS 15.3.1 · Apple M3 Ultra · 549.8 GB"


@pytest.mark.parametrize(
    ("changes", "level", "says"),
    [
        ({"machine": "x86_64"}, "fails", "Apple silicon"),
        ({"release": "macOS 13.6"}, "fails", "update it to macOS 14"),
        ({"python": "", "uv": ""}, "fails", "only 3.9.6: brew install python@3.13"),
        ({"free_bytes": 10**9}, "fails", "1.0 GB are free"),
        ({"is_writable": False}, "fails", "--folder"),
        ({"holds": "other"}, "fails", "holds something else"),
        ({"memory_bytes": 2 << 30}, "warns", "small models only"),
        ({"wired_limit_mb": 1024}, "warns", "sysctl iogpu.wired_limit_mb=0"),
        ({"clock_s": NOW_S + 600}, "warns", "10 min ahead"),
        ({"clock_s": NOW_S - 400_000}, "fails", "5 d behind"),
        ({"keeper": "process"}, "warns", "after a reboot"),
    ],
)
def test_what_is_wrong_is_told_with_its_remedy(
    studio: Machine, changes: dict[str, object], level: str, says: str
) -> None:
    ((found, sentence),) = sentences(replace(studio, **changes))

    assert found == level
    assert says in sentence


def test_uv_is_enough_since_it_brings_python(studio: Machine) -> None:
    assert sentences(replace(studio, python="", uv="/usr/local/bin/uv")) == []


def test_a_slow_line_is_no_wrong_clock(studio: Machine) -> None:
    late = replace(studio, clock_s=NOW_S - preflight.SKEW_S - 5)

    assert judge(late, NOW_S, rtt_s=10) == []


def test_this_machine_tells_all_that_is_asked(tmp_path: Path) -> None:
    script = f"set -- {tmp_path / 'node'}\n{site.EXAMINE.read_text()}"
    asked = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, check=True, timeout=20
    )
    here = read(asked.stdout)

    assert here.folder == str(tmp_path / "node")
    assert here.memory_bytes > 1 << 30
    assert here.free_bytes > 0
    assert abs(here.clock_s - time.time()) < 20
    assert re.fullmatch(r"[0-9A-Fa-f-]{36}", here.boot)
    assert here.is_writable
    assert here.holds == ""


def test_the_folder_of_somebody_else_is_seen(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear anna")
    script = f"set -- {tmp_path}\n{site.EXAMINE.read_text()}"
    asked = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, check=True, timeout=20
    )

    assert Finding("fails", f"{tmp_path} holds something else; choose another --folder.") in judge(
        read(asked.stdout), time.time()
    )


def test_gibberish_is_no_machine() -> None:
    with pytest.raises(ValueError, match="does not tell its system"):
        read("Welcome to studio!\n")
