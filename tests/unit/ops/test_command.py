"""The odyssai command itself."""

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from bus import embedded
from ops import alone, command, up
from ops.arguments import services


def test_help_imports_nothing_that_takes_time() -> None:
    program = (
        "import sys\nfrom ops.command import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'asyncio', 'nats', 'msgspec', 'litestar', 'mlx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=up.ROOT
    )

    assert done.stdout.splitlines()[-1] == "[]"
    assert "bench" in done.stdout


def test_the_supervisor_stays_light() -> None:
    program = (
        "import sys, ops.up\n"
        "heavy = {'nats', 'cryptography', 'zeroconf', 'litestar', 'httpx', 'mlx', 'psutil'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=up.ROOT
    )

    assert done.stdout == "[]\n"


def test_all_services_can_be_asked_for() -> None:
    assert tuple(services.SERVICES) == up.SERVICES


@pytest.mark.parametrize("alias", ["gpt", "=a", "a=", "a=b,c=d"])
def test_an_alias_that_is_none_is_refused(alias: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["up", f"--alias={alias}"])

    assert f"{alias} is not NAME=MODEL" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["up", f"--port={port}"])

    assert f"{port} is not a port" in capsys.readouterr().err


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["bench", "nonsense", "--json"]) == 2
    assert "no benchmark nonsense" in capsys.readouterr().err


def test_a_service_alone_needs_a_bus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ODYSSAI_NATS", raising=False)

    assert command.main(["scheduler", "--home", str(tmp_path)]) == 1
    assert "no bus to join" in capsys.readouterr().err


def flags(home: Path, service: str, **given: object) -> Namespace:
    usual = {"home": home, "service": service, "nats": None, "log_level": "info"}
    return Namespace(**(usual | given))


def test_a_service_alone_joins_the_bus_of_its_home(tmp_path: Path) -> None:
    server = embedded.prepare(tmp_path)
    os.close(server.claim)

    settings = alone.settings(flags(tmp_path, "health"))

    assert settings["ODYSSAI_NATS"] == server.access.url("health")
    assert "as=health.home" in settings["ODYSSAI_NATS"]


def test_a_service_alone_takes_its_flags(tmp_path: Path) -> None:
    gateway = alone.settings(
        flags(tmp_path, "gateway", nats="nats://there", host="0.0.0.0", port=9000)
    )
    runner = alone.settings(
        flags(tmp_path, "runner", nats="nats://there", model=["a"], alias=["x=a"], node="n")
    )

    assert (gateway["ODYSSAI_HOST"], gateway["ODYSSAI_PORT"]) == ("0.0.0.0", "9000")
    assert (runner["ODYSSAI_MODELS"], runner["ODYSSAI_NODE"]) == ("a", "n")
    assert runner["ODYSSAI_ALIASES"] == "x=a"
    assert not {"ODYSSAI_MODELS", "ODYSSAI_ALIASES"} & set(gateway)
