"""Grammars are compiled in a process that may be lost before the engine compiles them itself."""

import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from proto.errors import Code, MeshError
from services.runner.engine.constraints.trying import TRIAL_S, Vocabulary, sent

KEPT = 256
"""Grammars that ended the process are remembered: nobody tries them twice in a row."""
QUEUE_S = 20.0
"""One grammar is tried at a time; how long another one waits for its turn."""
SILENCE_S = 60.0
"""Of a process that does not compute, and so is not ended by the system."""
PROGRAM = ("-m", "services.runner.engine.constraints.trying")


class Trial:
    """Of one model's grammars. May be asked from any thread; starts nothing before it is asked."""

    def __init__(self, vocabulary: Callable[[], Vocabulary]) -> None:
        self._vocabulary = vocabulary
        self._process: subprocess.Popen[bytes] | None = None
        self._fatal: OrderedDict[int, None] = OrderedDict()
        self._turn = threading.Lock()

    def error(self, grammar: str) -> str:
        """What is wrong with a grammar; empty: it can be compiled. Raises MeshError."""
        if not self._turn.acquire(timeout=QUEUE_S):
            raise MeshError(
                Code.QUEUE_FULL,
                "too many formats are waiting to be compiled: try again in a moment",
                retry_after_s=TRIAL_S,
            )
        try:
            return self._tried(grammar)
        finally:
            self._turn.release()

    def close(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.communicate()

    def _tried(self, grammar: str) -> str:
        if hash(grammar) in self._fatal:
            return _EXPLOSIVE
        try:
            if self._process is None:
                self._process = self._started()
            return self._asked(self._process, grammar.encode())
        except _Lost:
            self.close()
            self._fatal[hash(grammar)] = None
            if len(self._fatal) > KEPT:
                self._fatal.popitem(last=False)
            return _EXPLOSIVE

    def _started(self) -> subprocess.Popen[bytes]:
        """Raises OSError."""
        process = subprocess.Popen(
            [sys.executable, *PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._asked(process, msgspec.msgpack.encode(self._vocabulary()))
        except _Lost as lost:
            process.kill()
            process.communicate()
            raise MeshError(
                Code.INTERNAL, "no process could be started to compile formats in"
            ) from lost
        return process

    def _asked(self, process: subprocess.Popen[bytes], piece: bytes) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        impatience = threading.Timer(SILENCE_S, process.kill)
        impatience.start()
        try:
            process.stdin.write(sent(piece))
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError as broken:
            raise _Lost from broken
        finally:
            impatience.cancel()
        if not line.endswith(b"\n"):
            raise _Lost
        return line.decode().rstrip("\n")


class _Lost(Exception):
    """The process ended."""


_EXPLOSIVE = (
    f"compiling it takes more than {TRIAL_S:g} s or more memory than there is; make it smaller, "
    "with fewer patterns, alternatives and repetitions"
)
