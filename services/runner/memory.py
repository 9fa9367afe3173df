"""What models may take of this machine's memory, and what is left of it."""

import asyncio
import json
import logging
import os
import platform
import re
import sys
from collections.abc import Awaitable, Callable

import psutil

from services.host import SettingError, setting

log = logging.getLogger(__name__)

SHARE = 0.8
"""Of the memory, where the operating system sets no bound of its own: the rest is for the agent,
its files in the page cache and whoever else works here.
"""
ASKED_S = 30.0
"""The device is asked once; importing mlx takes its time on a cold disk."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(%|[kmgt]?i?b?)", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

Run = Callable[..., Awaitable[str]]
"""What a program prints; empty when it fails."""


async def wirable_bytes(declared: int | None) -> int:
    """What the operator says, else what the operating system does."""
    if declared is not None:
        return declared
    return await measured(platform.system(), psutil.virtual_memory().total, printed)


def declared_bytes() -> int | None:
    """From ODYSSAI_MEMORY; None: it is to be measured. Raises SettingError."""
    return read(setting("ODYSSAI_MEMORY", "auto"), psutil.virtual_memory().total)


def read(text: str, total: int) -> int | None:
    """Of ``24GB``, ``24GiB``, a plain number of bytes, a share such as ``75%``, or ``auto``."""
    if text == "auto":
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise SettingError(
            f"ODYSSAI_MEMORY must be a size such as 24GB, a share such as 75% or auto, not {text!r}"
        )
    number, unit = float(found[1]), found[2].lower()
    if unit == "%":
        return int(total * number / 100)
    base = 1024 if "i" in unit else 1000
    return int(number * base ** _POWERS[unit.rstrip("ib")])


async def measured(system: str, total: int, run: Run) -> int:
    """MacOS keeps a bound on what Metal may wire; elsewhere it is a share of all there is."""
    if system != "Darwin":
        return int(SHARE * total)
    limit_mb = (await run("sysctl", "-n", "iogpu.wired_limit_mb")).strip()
    if limit_mb.isdigit() and int(limit_mb) > 0:
        return int(limit_mb) << 20
    told = await run(sys.executable, "-m", "services.runner.engine.device")
    try:
        return int(json.loads(told)["recommended_bytes"])
    except (ValueError, KeyError, TypeError):
        log.warning(
            "the device does not say what may be wired; taking %d %% of memory", 100 * SHARE
        )
        return int(SHARE * total)


async def printed(*command: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(ASKED_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return said.decode() if process.returncode == os.EX_OK else ""


def available_bytes() -> int:
    """What the operating system could give away at this moment."""
    return int(psutil.virtual_memory().available)


def spelled(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if abs(size) >= 1e9 else f"{size / 1e6:.0f} MB"
