"""A process's log, in which no client's words stand.

What an exception says may quote the prompt it was raised over. Where it went
through code that handles what clients and models write, the log tells its type
and place only.
"""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[1]
READERS = (
    "proto/dialects",
    "services/cloud",
    "services/gateway",
    "services/runner/engine/answer",
    "services/runner/engine/calls",
    "services/runner/engine/constraints",
    "services/runner/engine/prompts",
    "services/runner/engine/reception.py",
    "services/runner/engine/text.py",
    "services/runner/engine/vision",
)
"""Code that handles what clients and models write."""
WITHHELD = "(what it says may hold a client's words; ODYSSAI_LOG_CONTENT=1 logs it)"

log = logging.getLogger(__name__)


def start(service: str, level: str, *, shows_content: bool) -> None:
    """Log to stderr from now on, and also what nothing else catches."""
    handler = logging.StreamHandler(sys.stderr)
    line = f"%(asctime)s %(levelname)s {service} %(name)s: %(message)s"
    handler.setFormatter(logging.Formatter(line) if shows_content else Discreet(line))
    logging.basicConfig(level=level, handlers=[handler])
    for chatty in ("httpx", "httpcore", "nats"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    sys.excepthook = lambda kind, error, trace: _fatal((kind, error, trace))
    threading.excepthook = lambda args: _fatal(
        (args.exc_type, args.exc_value, args.exc_traceback)  # type: ignore[arg-type] # same shape
    )
    if shows_content:
        log.warning("ODYSSAI_LOG_CONTENT is on: this log may hold prompts and answers")


def uncaught(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's exception handler: its own prints tasks with all that they raised."""
    error = context.get("exception")
    told = (type(error), error, error.__traceback__) if error is not None else None
    log.error("%s", context.get("message") or "an error in the event loop", exc_info=told)


class Discreet(logging.Formatter):
    """Tells of exceptions what clients' words cannot be in."""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # What another formatter made of it, logging would use again.
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(_told(ei[1])) if ei[1] is not None else ""


def _fatal(info: tuple[type[BaseException], BaseException, TracebackType | None]) -> None:
    log.critical("this process or one of its threads ends", exc_info=info)


def _told(error: BaseException, depth: int = 0) -> Iterator[str]:
    """As Python prints it, its causes first."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _told(before, depth)
        yield "\nand then:\n"
    yield "Traceback (most recent call last):"
    yield "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    yield f"{type(error).__name__}: {_message(error)}"
    for inner in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield f"\nin a group, at depth {depth + 1}:\n"
        yield from _told(inner, depth + 1)


def _message(error: BaseException) -> str:
    return WITHHELD if _handles_content(error.__traceback__) else str(error)


def _handles_content(trace: TracebackType | None) -> bool:
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(ROOT) and file.relative_to(ROOT).as_posix().startswith(READERS):
            return True
        trace = trace.tb_next
    return False
