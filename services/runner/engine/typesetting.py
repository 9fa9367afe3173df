"""``python -m services.runner.engine.typesetting``: runs chat templates, to see it end.

A template comes with its model, from whomever. It may loop for ever, and one word of it
(``'x' * 10**10``) may ask for more memory than there is, where no other thread gets its turn until
it is done. So it is run here, where nothing else happens, and within bounds that the system keeps.
Reads pieces behind their length, each an ``Asked`` as JSON; answers each with a letter that says
what came of it, and a text behind its length.
"""

import json
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, BinaryIO, Literal, NamedTuple

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MEMORY_BYTES = 1 << 30
"""Of address space, where the system bounds it: sixty times the longest conversation."""
MOST_OF_AN_ERROR = 2000
"""Characters: a template says itself what is wrong."""
SIZE_BYTES = 4

Verdict = Literal[b"t", b"e", b"m", b"l"]
"""The text; an error and what it says; too much memory; too long, and how long."""


class Asked(NamedTuple):
    """An array. Python's own JSON, since templates are given any number that clients send."""

    template: str
    given: dict[str, Any]
    seconds: float
    """Of computing. Then the system ends this process, whatever it is in."""
    most_chars: int


def environment() -> ImmutableSandboxedEnvironment:
    """What templates are written for: that of transformers, which takes seconds to import."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),  # noqa: DTZ005 - as people say
        "dict": Dicts(),
        "namespace": Names,
    }
    return made


class Generation(Extension):
    """``{% generation %}`` marks what the assistant says, for those who train."""

    tags = {"generation"}  # noqa: RUF012 - as jinja has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller: Callable[[], str]) -> str:
        return caller()


class Dicts:
    """``dict`` without the ways that lead from a class to others."""

    def __call__(self, *args: Any, **given: Any) -> dict[Any, Any]:
        return dict(*args, **given)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class Names(Namespace):
    """``namespace``, none of whose names leads into Python."""

    def __init__(*args: Any, **given: Any) -> None:
        # A template may call one of them ``self``.
        self, *rest = args
        names = dict(*rest, **given)
        for name in names:
            _check_name(name)
        Namespace.__init__(self, names)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name like {name!r}")


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message: str) -> None:
    raise TemplateError(message)


@lru_cache(maxsize=8)
def compiled(template: str) -> Template:
    return environment().from_string(template)


def outcome(asked: Asked) -> tuple[Verdict, str]:
    try:
        text = compiled(asked.template).render(**asked.given)
    except MemoryError:
        return b"m", ""
    except Exception as error:  # noqa: BLE001 - a template raises whatever Python does
        return b"e", str(error)[:MOST_OF_AN_ERROR] or type(error).__name__
    if len(text) > asked.most_chars:
        return b"l", str(len(text))
    return b"t", text


def received(source: BinaryIO) -> Iterator[bytes]:
    """What is sent, each piece behind its length."""
    while head := source.read(SIZE_BYTES):
        yield source.read(int.from_bytes(head))


def sent(piece: bytes) -> bytes:
    return len(piece).to_bytes(SIZE_BYTES) + piece


def main() -> None:
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for piece in received(sys.stdin.buffer):
        asked = Asked(*json.loads(piece))
        signal.setitimer(signal.ITIMER_PROF, asked.seconds)
        verdict, text = outcome(asked)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(verdict + sent(text.encode(errors="surrogatepass")))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
