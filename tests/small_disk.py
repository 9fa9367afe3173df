"""A disk that is soon full: a real file system of its own, where we may mount one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Of so many bytes, mounted at a new folder; skips the test where that is not allowed."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    is_root = sys.platform == "linux" and os.geteuid() == 0
    if not is_root or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leaving: int = 0) -> Path:
    """Take all that is free but so many bytes: the file to delete for it."""
    hog = disk / "hog"
    with hog.open("wb", buffering=0) as opened:
        opened.write(b"\0" * (shutil.disk_usage(disk).free - leaving))
    return hog
