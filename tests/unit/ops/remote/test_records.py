"""What a home knows of the machines that it deployed."""

import stat
from pathlib import Path

import pytest

from bus.home import ForeignState
from ops.remote import records
from ops.remote.errors import NotDeployed
from ops.remote.host import Host
from ops.remote.records import Deployment

STUDIO = Deployment(host=Host(name="studio.local", user="anna"), folder="/Users/anna/node")
MINI = Deployment(host=Host(name="10.0.0.7", port=2222), folder="/Users/anna/node")


def test_what_was_deployed_is_known_until_it_is_forgotten(tmp_path: Path) -> None:
    records.keep(tmp_path, "studio", STUDIO)
    records.keep(tmp_path, "mini", MINI)
    assert records.known(tmp_path) == {"studio": STUDIO, "mini": MINI}
    assert stat.S_IMODE((tmp_path / "machines.json").stat().st_mode) == 0o600

    records.forget(tmp_path, "studio")

    assert records.find(tmp_path, "mini") == MINI
    with pytest.raises(NotDeployed, match=r"\(mini\)"):
        records.find(tmp_path, "studio")


def test_a_file_that_is_not_ours_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "machines.json").write_text("[]")

    with pytest.raises(ForeignState, match="deploy anew"):
        records.keep(tmp_path, "studio", STUDIO)
