"""The process that runs chat templates, as its engine has it: started when it is first needed."""

import atexit
import json
import selectors
import signal
import subprocess
import sys
import threading
import time

import psutil
from jinja2 import TemplateError

from proto.errors import Code, MeshError
from services.runner.engine.typesetting import MEMORY_BYTES, SIZE_BYTES, Asked, sent

QUEUE_S = 20.0
"""One conversation is rendered at a time, in a millisecond; how long another one waits."""
LOOK_S = 0.05
"""How often its memory is looked at: macOS does not bound it by itself."""
SILENCE_S = 60.0
"""Of a process that does not compute, and so is not ended by the system."""
PROGRAM = ("-m", "services.runner.engine.typesetting")


class Excessive(TemplateError):
    """The template runs for too long, says too much, or takes too much memory."""


class Typesetter:
    """May be asked from any thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        atexit.register(self.close)

    def text(self, asked: Asked) -> str:
        """Raises TemplateError, MeshError when too many are waiting, ValueError for what no
        template may be given.
        """
        piece = json.dumps(asked).encode()
        if not self._turn.acquire(timeout=QUEUE_S):
            raise MeshError(
                Code.QUEUE_FULL,
                "too many conversations are waiting to be rendered: try again in a moment",
                retry_after_s=asked.seconds,
            )
        try:
            verdict, said = self._asked(piece)
        except _Lost as lost:
            raise Excessive(_WHY.get(lost.status, _WHY[0]).format(seconds=asked.seconds)) from lost
        finally:
            self._turn.release()
        if verdict == b"t":
            return said
        if verdict == b"l":
            many = f"it makes {said} characters, and {asked.most_chars} are the most"
            raise Excessive(many)
        raise TemplateError(said)

    def close(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.communicate()

    def _asked(self, piece: bytes) -> tuple[bytes, str]:
        """Raises _Lost."""
        if self._process is not None and self._process.poll() is not None:
            self.close()  # It ended between two requests: no template's doing.
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, *PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        process = self._process
        try:
            verdict, said = _exchange(process, piece)
        except BaseException as interrupted:
            self.close()
            if isinstance(interrupted, BrokenPipeError):
                raise _Lost(process.returncode) from interrupted
            raise
        if verdict == b"m":
            self.close()  # What is left of its memory may be too little for the next one.
            raise _Lost(_GREEDY)
        return verdict, said.decode(errors="surrogatepass")


def _exchange(process: subprocess.Popen[bytes], piece: bytes) -> tuple[bytes, bytes]:
    """Raises BrokenPipeError when it ends, and _Lost when it is to be ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(sent(piece))
    process.stdin.flush()
    _watch(process)
    head = process.stdout.read(1 + SIZE_BYTES)
    said = process.stdout.read(int.from_bytes(head[1:]))
    if len(head) <= SIZE_BYTES:
        process.wait()
        raise BrokenPipeError
    return head[:1], said


def _watch(process: subprocess.Popen[bytes]) -> None:
    """Return when it answers, or has ended. Raises _Lost."""
    assert process.stdout is not None
    end = time.monotonic() + SILENCE_S
    with selectors.DefaultSelector() as answers:
        answers.register(process.stdout, selectors.EVENT_READ)
        while not answers.select(LOOK_S):
            if _memory_of(process.pid) > MEMORY_BYTES or time.monotonic() > end:
                raise _Lost(_GREEDY)


def _memory_of(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


class _Lost(Exception):
    """The process ended, or had to be."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


_GREEDY = -signal.SIGKILL
_WHY = {
    -signal.SIGPROF: "it did not come to an end within {seconds:g} s; send fewer messages, or "
    "choose another model",
    _GREEDY: f"it takes more memory than {MEMORY_BYTES >> 20} MB; choose another model",
    0: "it ended the process that it is run in; choose another model",
}
