"""Python starts with this where a test has it on its path: the wall clock is wrong, and may jump.

By how many seconds says the file that SHIFTED_BY names, at every moment anew.
"""

import os
import time
from pathlib import Path

_right = time.time
_file = Path(os.environ["SHIFTED_BY"])


def _wrong() -> float:
    return _right() + float(_file.read_text() or 0)


time.time = _wrong
