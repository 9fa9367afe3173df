"""Engines that say on the local network that they are there: listed, asked nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from zeroconf.asyncio import AsyncServiceInfo

from ops.joining.multicast import speaking
from ops.joining.suggestions import ENGINE, WEB, Suggestion, browse, table

LOOPBACK = ["127.0.0.1"]


@asynccontextmanager
async def announced(service: str, name: str, port: int, **told: str) -> AsyncIterator[None]:
    """As another program on the network does it."""
    info = AsyncServiceInfo(
        service, f"{name}.{service}", port=port, properties=told, parsed_addresses=LOOPBACK,
        server=f"{name}.local.",
    )  # fmt: skip
    async with speaking(LOOPBACK) as speaker:
        await (await speaker.async_register_service(info, strict=False))
        yield
        await (await speaker.async_unregister_service(info))


@pytest.mark.timeout(30)
async def test_who_announces_an_engine_is_suggested_and_other_web_servers_are_not() -> None:
    async with (
        announced(ENGINE, "studio-tel", 8003, engine="telemak"),
        announced(WEB, "mini-oll", 11434),
        announced(WEB, "printer-x", 631),
    ):
        found = await browse(2.0, LOOPBACK)

    ours = {each.name: each for each in found}
    assert ours["studio-tel"] == Suggestion("telemak", "studio-tel", "http://127.0.0.1:8003")
    assert ours["mini-oll"] == Suggestion("Ollama", "mini-oll", "http://127.0.0.1:11434")
    assert "printer-x" not in ours


def test_a_suggestion_says_that_nothing_is_enrolled_by_it() -> None:
    shown = table([Suggestion("Ollama", "mini", "http://10.0.0.7:11434")])

    assert shown.rows == [("Ollama", "mini", "http://10.0.0.7:11434")]
    assert "odyssai enroll ADDRESS" in shown.notes[0]
