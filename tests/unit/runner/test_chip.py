"""The chip as macOS prints it."""

from services.runner.chip import chip


async def printed(*command: str) -> str:
    assert command == ("sysctl", "-n", "machdep.cpu.brand_string")
    return "Apple M3 Ultra\n"


async def test_a_mac_says_its_chip_and_others_none() -> None:
    assert await chip("Darwin", printed) == "Apple M3 Ultra"
    assert await chip("Linux", printed) == ""
