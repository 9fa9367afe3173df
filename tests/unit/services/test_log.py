"""What a log tells of an exception, and what it does not."""

import asyncio
import logging
import sys

import msgspec
import pytest

from proto.dialects import asked
from services import log

SECRET = "xyzzy-plugh"


def told(error: BaseException) -> str:
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "it failed", None, None)
    record.exc_info = (type(error), error, error.__traceback__)
    return log.Discreet("%(message)s").format(record)


def raised(call, *arguments) -> BaseException:
    with pytest.raises(ValueError, match=r".") as caught:
        call(*arguments)
    return caught.value


def over_a_prompt() -> BaseException:
    def quote(_: object) -> object:
        raise ValueError(f"cannot read {SECRET}")

    class Decoder:
        decode = staticmethod(quote)

    return raised(asked.decode, Decoder(), b"", {})


def test_an_exception_over_a_prompt_is_told_without_its_words():
    text = told(over_a_prompt())

    assert SECRET not in text
    assert "ValueError: (what it says may hold" in text
    assert "asked.py" in text


def test_any_other_is_told_in_full():
    error = raised(msgspec.json.decode, b"{")

    assert str(error) in told(error)
    assert "Traceback (most recent call last):" in told(error)


def test_causes_and_groups_are_told_alike():
    outer = RuntimeError("the outer one")
    outer.__cause__ = over_a_prompt()
    group = ExceptionGroup("several", [outer, OSError("disk")])
    text = told(group)

    assert SECRET not in text
    for word in ("the outer one", "disk", "several", "and then:", "ValueError"):
        assert word in text


def test_an_event_loop_tells_no_more(caplog):
    async def forgotten() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log.uncaught)
        loop.call_exception_handler(
            {"message": "never retrieved", "exception": over_a_prompt(), "task": SECRET}
        )

    with caplog.at_level(logging.ERROR):
        asyncio.run(forgotten())

    (record,) = [r for r in caplog.records if r.name == log.__name__]
    assert record.getMessage() == "never retrieved"
    assert SECRET not in log.Discreet("%(message)s").format(record)


@pytest.mark.parametrize("shows_content", [True, False])
def test_the_whole_process_logs_so(shows_content, monkeypatch, capsys):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(log.threading, "excepthook", log.threading.excepthook)
    log.start("gateway", "INFO", shows_content=shows_content)
    error = over_a_prompt()
    sys.excepthook(type(error), error, error.__traceback__)

    said = capsys.readouterr().err
    assert (SECRET in said) is shows_content
    assert ("may hold prompts and answers" in said) is shows_content
