"""What an agent's child processes are told: one order each."""

from typing import Literal

from msgspec import Struct

from proto.store import LentFile

JOB_FILE = ".odyssai-job"
"""In a converted model's folder: which job made it."""


class FetchOrder(Struct, kw_only=True):
    """Bring a model of the hub into this machine's cache of it."""

    model: str
    revision: str | None = None
    """None: ``main``."""
    token: str | None = None
    """None: the one that this machine is logged in with, if any."""
    trusts_code: bool = False


class BorrowOrder(Struct, kw_only=True):
    """Bring files that another node lends."""

    model: str
    url: str
    ticket: str
    files: tuple[LentFile, ...]
    revision: str = ""
    """Of the hub: the model goes into its cache; empty: it becomes ``folder``."""
    folder: str = ""


class ConvertOrder(Struct, kw_only=True):
    """Write a model anew in another form."""

    source: str
    """As an engine would be told."""
    home: str
    folder: str
    """Of the new one; there is none of that name yet."""
    job: str
    """Stands in the folder, so that the same job is not done twice."""
    total_bytes: int
    """About so many are to be written."""
    bits: int | None = None
    group_size: int = 64
    dtype: Literal["float16", "bfloat16", "float32"] | None = None
    trusts_code: bool = False
