"""What models may take: told by the operator, by macOS, by mlx, or a share of what there is."""

import sys

import pytest

from services.host import SettingError
from services.runner.memory import measured, printed, read

TOTAL = 68_719_476_736
GIB = 1 << 30


@pytest.mark.parametrize(
    ("told", "size"),
    [
        ("24GB", 24 * 10**9), ("24GiB", 24 * GIB), ("1.5 tb", 1_500_000_000_000),
        ("512MB", 512_000_000), ("1073741824", GIB), ("8g", 8 * 10**9), ("75%", TOTAL * 3 // 4),
        ("auto", None),
    ],
)  # fmt: skip
def test_a_size_is_read_as_people_write_it(told: str, size: int | None) -> None:
    assert read(told, TOTAL) == size


@pytest.mark.parametrize("told", ["much", "-1GB", "0", "8 GBs", "GB"])
def test_what_is_no_size_is_refused(told: str) -> None:
    with pytest.raises(SettingError, match="ODYSSAI_MEMORY"):
        read(told, TOTAL)


class Recorded:
    """What programs printed on a Mac with 64 GB."""

    def __init__(self, **printed: str) -> None:
        self._printed = printed
        self.asked: list[str] = []

    async def __call__(self, *command: str) -> str:
        name = "sysctl" if command[0] == "sysctl" else command[-1].rpartition(".")[2]
        self.asked.append(name)
        return self._printed.get(name, "")


async def test_a_limit_that_an_operator_set_in_macos_counts() -> None:
    mac = Recorded(sysctl="57344\n")

    assert await measured("Darwin", TOTAL, mac) == 56 * GIB
    assert mac.asked == ["sysctl"]


async def test_without_one_mlx_knows_what_is_recommended() -> None:
    mac = Recorded(sysctl="0\n", device='{"recommended_bytes": 55662788608}')

    assert await measured("Darwin", TOTAL, mac) == 55_662_788_608


@pytest.mark.parametrize("device", ["", "Traceback", '{"recommended_bytes": null}'])
async def test_where_nobody_knows_it_is_a_share(device: str) -> None:
    assert await measured("Darwin", TOTAL, Recorded(device=device)) == int(0.8 * TOTAL)
    assert await measured("Linux", TOTAL, Recorded()) == int(0.8 * TOTAL)


async def test_the_device_is_asked_in_a_process_that_prints_json() -> None:
    said = await printed(sys.executable, "-m", "services.runner.engine.device")

    assert "recommended_bytes" in said
    assert await printed("no-such-program") == ""
