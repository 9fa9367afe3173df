"""`odyssai import-topology`: the clusters of an OdyssAI as part of our configuration."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ops.console.terminal import complain
from services.scheduler.configuration.document import NotConfig
from services.scheduler.configuration.text import parse
from services.scheduler.configuration.topology import Imported, imported


def main(args: argparse.Namespace) -> int:
    """0 when it was written, 1 with the line that is wrong."""
    try:
        found = imported(args.file.read_text(), os.environ)
    except (NotConfig, OSError, UnicodeDecodeError) as error:
        complain(f"{args.file}, {error}")
        return 1
    for remark in found.remarks:
        print(remark, file=sys.stderr)
    if not found.clusters:
        complain(f"{args.file} has no cluster of several nodes")
        return 1
    text = told(found)
    if args.output is None:
        print(text, end="")
        return 0
    return _write(args.output, text)


def told(found: Imported) -> str:
    """A section ``clusters`` as a file has it."""
    plain: Any = msgspec.to_builtins(found.clusters)
    return yaml.safe_dump({"clusters": plain}, sort_keys=False, allow_unicode=True)


def _write(file: Path, text: str) -> int:
    """Behind what the file says already, whose remarks stay."""
    try:
        before = file.read_text() if file.exists() else ""
        parse(before)
        parse(whole := f"{before.rstrip()}\n\n{text}".lstrip())
        file.write_text(whole)
    except (NotConfig, OSError, UnicodeDecodeError) as error:
        complain(f"{file} is left as it was: {error}")
        return 1
    print(f"{file} has them; a scheduler with that file puts them into effect.", file=sys.stderr)
    return 0
