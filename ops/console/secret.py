"""Keys of providers and engines, as operators hand them over."""

import getpass
import os
import sys

from bus.providers import expect_key
from proto.errors import Code, MeshError


def handed_over(of: str, variable: str | None) -> str:
    """From the environment's ``variable``, a prompt that shows nothing, or standard input: there is
    no option for a key itself, since arguments are seen by everybody on the machine. ``of``: whose
    it is. Raises MeshError.
    """
    if variable:
        told = os.environ.get(variable, "")
        if not told:
            raise MeshError(Code.INVALID_REQUEST, f"The environment has no {variable}.")
    elif sys.stdin.isatty():
        told = getpass.getpass(f"Key of {of} (not shown): ")
    else:
        told = sys.stdin.read()
    told = told.strip()
    expect_key(told)
    return told
