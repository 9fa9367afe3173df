"""A release in a folder of its own on the other machine, with an environment of its own.

Two lie side by side while one is replaced, so that the one before can be gone back to.
"""

import shlex

from ops.remote.layout import Layout
from ops.remote.preflight import Machine
from ops.remote.release import LOCK, Release
from ops.remote.session import Session

INSTALL_S = 1800.0
"""Half a gigabyte over a slow line."""
REMOVE_S = 300.0


async def is_there(session: Session, layout: Layout, release: str) -> bool:
    """Whole, that is."""
    return await session.succeeds(f"test -e {_done(layout, release)}")


async def install(session: Session, layout: Layout, machine: Machine, release: Release) -> None:
    """Raises RemoteError; what was begun is begun anew the next time."""
    folder = layout.release(release.name)
    wheel = await release.wheel()
    await session.run(f"umask 077; rm -rf {_q(folder)} && mkdir -p {_q(folder)}")
    await session.upload(release.lock, f"{folder}/{LOCK}")
    await session.upload(wheel, f"{folder}/{wheel.name}")
    await session.run(script(folder, wheel.name, machine), within_s=INSTALL_S)


def script(folder: str, wheel: str, machine: Machine) -> str:
    """By uv where there is one, for speed; pip installs the same files, checked by the same hashes.

    Where they come from is as that machine's own settings say.
    """
    locked = f"--no-deps --require-hashes -r {LOCK}"
    own = f"--no-deps --no-index {shlex.quote(f'./{wheel}')}"
    if machine.uv:
        uv, python = _q(machine.uv), _q(machine.python or ">=3.11")
        install = f"{uv} pip install --quiet --python venv/bin/python"
        lines = [f"{uv} venv --quiet --python {python} venv"]
    else:
        install = "venv/bin/python -m pip install --quiet --disable-pip-version-check"
        lines = [f"{_q(machine.python)} -m venv venv"]
    lines += [f"{install} {locked}", f"{install} {own}", "venv/bin/odyssai --version"]
    return "\n".join(["set -e", f"cd {_q(folder)}", *lines, "touch installed"])


async def running_release(session: Session, layout: Layout) -> str:
    """Empty where none was ever started."""
    said = await session.run(f"readlink {_q(layout.current)} || true")
    return said.strip().rpartition("/")[2]


async def switch(session: Session, layout: Layout, release: str) -> None:
    """What is started from now on is this one."""
    await session.run(f"ln -sfn {_q(layout.release(release))} {_q(layout.current)}")


async def prune(session: Session, layout: Layout, keep: str) -> bool:
    """Whether there were others."""
    said = await session.run(
        f"cd {_q(layout.releases)} && for each in *; do "
        f'[ "$each" = {_q(keep)} ] || {{ rm -rf "./$each" && echo "$each"; }}; done',
        within_s=REMOVE_S,
    )
    return bool(said.strip())


def _done(layout: Layout, release: str) -> str:
    return _q(f"{layout.release(release)}/installed")


def _q(text: str) -> str:
    return shlex.quote(text)
