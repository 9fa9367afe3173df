"""How a release is installed: the lock with its hashes, and nothing that is not in it."""

import subprocess

import pytest
from msgspec.structs import replace

from ops.remote.install import script
from ops.remote.preflight import Machine

MACHINE = Machine(system="Linux", machine="x86_64", home="/h", folder="/h/n")


@pytest.mark.parametrize(
    "machine",
    [
        replace(MACHINE, python="/usr/bin/python3"),
        replace(MACHINE, uv="/opt/my uv/uv"),
        replace(MACHINE, uv="/usr/bin/uv", python="/usr/bin/python3"),
    ],
)
def test_whoever_installs_checks_hashes_and_names_no_index(machine: Machine) -> None:
    made = script("/h/n/releases/abc", "odyssai_mesh-0.1.0-py3-none-any.whl", machine)

    subprocess.run(["/bin/sh", "-n", "-c", made], check=True)
    locked, own = [line for line in made.splitlines() if " install " in line]
    assert "--no-deps --require-hashes -r requirements.lock" in locked
    assert "--no-deps --no-index ./odyssai_mesh" in own
    assert "http" not in made
    assert made.splitlines()[0] == "set -e"
    assert made.splitlines()[-1] == "touch installed"
    assert ("-m pip" in made) == (not machine.uv)
