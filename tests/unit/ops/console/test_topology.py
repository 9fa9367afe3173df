"""`odyssai import-topology`, from file to file."""

from pathlib import Path

import pytest

from ops import command
from services.scheduler.configuration.text import parse

TOPOLOGY = """clusters:
  garage:
    backend: ring
    pools:
      - size: 2
        nodes: [{rank: 0, id: a}, {rank: 1, id: b}]
"""


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    file = tmp_path / "topology.yaml"
    file.write_text(TOPOLOGY)
    return file


def test_clusters_are_added_to_a_configuration_whose_remarks_stay(topology: Path) -> None:
    ours = topology.with_name("odyssai.yaml")
    ours.write_text("# mine\ndefault_model: m\n")

    assert command.main(["import-topology", str(topology), "-o", str(ours)]) == 0
    assert ours.read_text().startswith("# mine\n")
    config = parse(ours.read_text())
    assert config.default_model == "m"
    assert config.clusters
    assert config.clusters["garage"]
    assert config.clusters["garage"].nodes == ("a", "b")


def test_clusters_are_never_written_twice(
    topology: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = topology.with_name("odyssai.yaml")
    assert command.main(["import-topology", str(topology), "-o", str(ours)]) == 0
    before = ours.read_text()

    assert command.main(["import-topology", str(topology), "-o", str(ours)]) == 1
    assert ours.read_text() == before
    assert "`clusters` stands at line 1 already" in capsys.readouterr().err


def test_a_mistake_is_told_with_its_line_and_nothing_is_written(
    topology: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topology.write_text(TOPOLOGY.replace("rank: 1", "rank: 0"))
    ours = topology.with_name("odyssai.yaml")

    assert command.main(["import-topology", str(topology), "-o", str(ours)]) == 1
    assert "line 6: " in capsys.readouterr().err
    assert not ours.exists()
