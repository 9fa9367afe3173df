"""Which chip this machine has: it says how fast weights can be read."""

from collections.abc import Awaitable, Callable

Run = Callable[..., Awaitable[str]]
"""What a program prints; empty when it fails."""


async def chip(system: str, run: Run) -> str:
    """Such as ``Apple M3 Ultra``; empty where it is none of Apple's."""
    if system != "Darwin":
        return ""
    return (await run("sysctl", "-n", "machdep.cpu.brand_string")).strip()
