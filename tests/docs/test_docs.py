"""The documents say what is there, all of it."""

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from bus import embedded
from bus.address import Address
from bus.buckets import KINDS
from bus.cluster import Seat
from ops import command
from ops.bench._chaos.faults import FAULTS
from ops.joining.servers import init
from proto import subjects
from proto.credentials import Holder
from proto.subjects import Subject

ROOT = Path(__file__).parents[2]
SOURCES = [f for top in ("proto", "bus", "services", "ops") for f in (ROOT / top).rglob("*.py")]
CONSTANTS = [name for name, value in vars(subjects).items() if isinstance(value, Subject)]
HOST = "127.0.0.1"
SETTING = re.compile(r"\b(?:ODYSSAI|OPENAI|OPENROUTER)_[A-Z][A-Z_]*[A-Z]\b")


@pytest.mark.parametrize("constant", CONSTANTS)
def test_every_subject_is_described(constant: str) -> None:
    assert f"| `{constant}` |" in (ROOT / "docs/messages.md").read_text()


def test_every_bucket_is_described_and_looked_after() -> None:
    _, _, page = (ROOT / "docs/messages.md").read_text().partition("State in JetStream KV")

    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(KINDS)


def test_every_setting_is_described_and_none_that_is_not_there() -> None:
    files = (*SOURCES, ROOT / "compose.yaml")
    used = {name for file in files for name in SETTING.findall(file.read_text())}
    described = set(SETTING.findall((ROOT / "docs/settings.md").read_text()))

    assert used == described


def test_every_command_is_described() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    (commands,) = [a for a in command.parser()._actions if isinstance(a.choices, dict)]

    assert [name for name in commands.choices or () if f"`odyssai {name}" not in page] == []


def test_every_fault_is_in_the_table() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    table = page.partition("## Faults and what they may cost")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| ([^|]+) \|$", table, re.MULTILINE))

    told = {f.name: ", ".join(sorted(f.costs)) or "nothing" for f in FAULTS.values()}
    assert rows == told


def test_every_test_of_faults_is_in_the_index() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    tests = [file.name for file in (ROOT / "tests/faults").glob("test_*.py")]

    assert [name for name in tests if f"`tests/faults/{name}`" not in page] == []


def test_every_package_is_on_the_map() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    packages = {file.parent.relative_to(ROOT) for file in SOURCES if file.name == "__init__.py"}

    assert [str(p) for p in packages if f"`{p}/" not in page] == []


def test_every_link_between_documents_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
        if not (page.parent / target).exists()
    ]

    assert links == []


def test_no_other_distribution_claims_our_package_names() -> None:
    owners = importlib.metadata.packages_distributions()

    for name in ("proto", "bus", "services", "ops"):
        assert set(owners.get(name, ())) <= {"odyssai-mesh"}


COMPOSE = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]


@pytest.mark.skipif(
    subprocess.run([*COMPOSE, "version"], capture_output=True, check=False).returncode != 0
    if shutil.which(COMPOSE[0])
    else True,
    reason="needs a compose client; .ci/run installs one",
)
def test_compose_accepts_the_mesh_and_each_service_gets_its_own_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an engine to start it: `config` needs the client alone."""
    monkeypatch.setenv("ODYSSAI_BUS_HOST", HOST)
    monkeypatch.setenv("ODYSSAI_BUS_HOME", str(tmp_path / "home"))
    seats = tuple(
        Seat(host=HOST, port=4222 + number, route_port=6222 + number) for number in range(3)
    )
    init(tmp_path / "home", seats, "odyssai")

    read = subprocess.run(
        [*COMPOSE, "-f", ROOT / "compose.yaml", "config"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    mesh = yaml.safe_load(read.stdout)
    named = {name: Path(secret["file"]) for name, secret in mesh["secrets"].items()}
    assert all(file.exists() for file in named.values())
    for number in (1, 2, 3):
        argv = mesh["services"][f"nats-{number}"]["command"]
        folder = tmp_path / "home" / "bus" / "servers"
        subprocess.run([embedded.find_server(), "-t", *argv[:2]], cwd=folder, check=True)
    roles = {
        **{f"{role}-{number}": role for role in ("gateway", "scheduler") for number in (1, 2)},
        "cloud": "cloud",
        "health": "health",
    }
    for service, role in roles.items():
        told = mesh["services"][service]
        address = Address.parse(told["environment"]["ODYSSAI_NATS"])
        assert {secret["source"] for secret in told["secrets"]} == {"ca", role}
        assert (address.holder, address.name) == (Holder(role, "home"), "odyssai")
        assert address.servers == tuple(f"nats://{seat.address}" for seat in seats)
        assert address.seed == Path(f"/run/secrets/{role}")
        assert address.ca == Path("/run/secrets/ca")
        assert "volumes" not in told


def test_the_lock_files_record_no_address() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        assert not re.search(r"https?://|--index-url|--find-links|file:|@ /", lock.read_text())


def test_what_is_tested_is_what_runs() -> None:
    """The two locks are resolved one after the other, and must come to the same versions."""
    tested, runs = (
        set(re.findall(r"^([a-z0-9-]+==[^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE))
        for lock in ("requirements-dev.lock", "requirements.lock")
    )

    assert runs
    assert runs <= tested
