"""`odyssai config`, against a real bus."""

import asyncio
import json
from pathlib import Path

import pytest

from bus.config import change_layer, open_layers
from bus.connection import Bus
from ops import command
from proto.config import Config, ConfigLayer, ModelConfig
from tests.conftest import NatsServer


@pytest.fixture
def nats(nats_server: NatsServer) -> str:
    """With a file's word in effect, and a mistake in its newest version."""
    config = Config(default_model="m", models={"org/m": ModelConfig(context=8)})
    layer = ConfigLayer(config=config, origin="studio:/odyssai.yaml", problem="line 3: no")

    async def write() -> None:
        async with Bus.connect(nats_server.url, "test:config") as bus:
            await change_layer(await open_layers(bus), "file", lambda _: layer)

    asyncio.run(write())
    return nats_server.url


def test_what_is_set_wins_until_it_is_unset(nats: str, capsys: pytest.CaptureFixture[str]) -> None:
    def shown() -> Config:
        capsys.readouterr()
        assert command.main(["config", "show", "--json", "--nats", nats]) == 0
        config: Config = json.loads(capsys.readouterr().out)["effective"]
        return config

    assert command.main(["config", "set", "models/org/m/context", "16", "--nats", nats]) == 0
    assert command.main(["config", "set", "default_model", "null", "--nats", nats]) == 0
    assert shown() == {"models": {"org/m": {"context": 16}}}
    assert command.main(["config", "unset", "models/org/m/context", "--nats", nats]) == 0
    assert shown() == {"models": {"org/m": {"context": 8}}}


def test_what_is_in_effect_is_shown_as_a_file_with_its_origin_and_the_files_mistake(
    nats: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["config", "show", "--nats", nats]) == 0

    told = capsys.readouterr()
    assert "# file: studio:/odyssai.yaml" in told.out
    assert "models:\n  org/m:\n    context: 8" in told.out
    assert "not in effect: line 3: no" in told.err


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("nonsense/x", "1", "there are default_model"),
        ("models/org/m/context", "much", "Expected `int"),
        ("loading/on_demand", "[", "loading/on_demand: while parsing"),
    ],
)
def test_what_cannot_be_set_is_told(
    nats: str, capsys: pytest.CaptureFixture[str], setting: str, value: str, words: str
) -> None:
    assert command.main(["config", "set", setting, value, "--nats", nats]) == 1

    assert words in capsys.readouterr().err


def test_a_file_is_checked_with_the_line_of_its_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "odyssai.yaml"
    file.write_text("default_model: m\n")
    assert command.main(["config", "check", str(file)]) == 0
    file.write_text("default_model: m\nfoo: 1\n")
    assert command.main(["config", "check", str(file)]) == 1
    assert f"{file}, line 2: `foo`" in capsys.readouterr().err
    assert command.main(["config", "check", str(tmp_path / "none")]) == 1
