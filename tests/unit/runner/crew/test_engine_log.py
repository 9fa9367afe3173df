"""What an engine's last words are."""

from pathlib import Path

import pytest

from services.runner.crew.engine_log import MOST_BYTES, NOT_LOADABLE, EngineLog

WELL = b"2026-01-02 10:00:00,1 INFO engine services.runner.engine.serving: serving\n"
SORRY = b"2026-01-02 10:00:00,1 ERROR engine services.runner.engine.serving: no such model;\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "engine-e.log"


@pytest.fixture
def log(path: Path) -> EngineLog:
    return EngineLog(path)


def say(log: EngineLog, *words: bytes) -> None:
    with log.open() as out:
        out.writelines(words)


def test_an_engine_that_cannot_load_its_model_is_quoted(log: EngineLog) -> None:
    say(log, WELL, SORRY, b"check the path\n")

    assert log.last_words(NOT_LOADABLE) == "no such model;\ncheck the path"


def test_only_complaints_are_last_words(log: EngineLog) -> None:
    say(log, WELL)
    assert log.last_words("SIGKILL") == "SIGKILL"

    say(log, b"1\n2\n3\n", WELL, b"Bus error\n")
    assert log.last_words("SIGBUS") == "SIGBUS: 2\n3\nBus error"


def test_what_an_earlier_process_said_is_no_last_word(log: EngineLog, path: Path) -> None:
    say(log, b"Bus error\n")
    say(log)
    assert log.last_words("SIGKILL") == "SIGKILL"

    later = EngineLog(path)
    later.mark()
    assert later.last_words("SIGKILL") == "SIGKILL"


def test_an_engine_that_never_ran_has_said_nothing(log: EngineLog) -> None:
    assert log.last_words("refused") == "refused"


def test_a_long_log_is_put_aside(log: EngineLog, path: Path) -> None:
    say(log, b"x" * (MOST_BYTES + 1))
    say(log, b"Bus error\n")

    assert path.read_bytes() == b"Bus error\n"
    assert path.with_suffix(".old.log").stat().st_size == MOST_BYTES + 1
    assert log.last_words("SIGBUS") == "SIGBUS: Bus error"


def test_a_log_that_cannot_be_written_keeps_no_engine_from_starting(
    path: Path, log: EngineLog
) -> None:
    path.parent.write_text("a file where the folder should be")

    say(log, WELL)

    assert log.last_words("SIGKILL") == "SIGKILL"
