"""Long work in processes of their own, so that an agent's heartbeat never waits for a disk.

The child reads its order as the first line of its standard input, which stays open: when it
closes, the agent is gone and the child ends. What it has to say are lines of JSON.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec

from proto.errors import Code, MeshError
from services.runner.disk import FULL

Order = TypeVar("Order")

GRACE_S = 3.0
_LINE_BYTES = 1 << 20


class Progressed(msgspec.Struct, tag="progressed"):
    step: str
    done_bytes: int = 0
    total_bytes: int = 0


class Failed(msgspec.Struct, tag="failed"):
    code: str
    message: str


Line = Progressed | Failed
_DECODER = msgspec.json.Decoder(Line)


async def run_child(
    module: str, order: msgspec.Struct, heard: Callable[[Progressed], None]
) -> None:
    """Until it is done. Cancelled, it ends the child. Raises MeshError, with what the child says.

    The order may hold a secret: it travels through a pipe, never in arguments.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True, limit=_LINE_BYTES,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(msgspec.json.encode(order) + b"\n")
        await child.stdin.drain()
        await _listen(module, child.stdout, heard)
        code = await child.wait()
    except (ConnectionError, BrokenPipeError):
        code = await child.wait()
    finally:
        await _end(child)
    if code:
        raise MeshError(
            Code.INTERNAL, f"{module} ended with status {code}; the agent's log says why"
        )


async def _listen(
    module: str, said: asyncio.StreamReader, heard: Callable[[Progressed], None]
) -> None:
    while line := await said.readline():
        try:
            message = _DECODER.decode(line)
        except msgspec.DecodeError:
            continue  # Libraries print, too.
        if isinstance(message, Failed):
            raise MeshError(Code.of(message.code), message.message)
        heard(message)


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(GRACE_S):
            await child.wait()
    except TimeoutError:
        os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


# In the child


def read_order(type_: type[Order]) -> Order:
    """Also sees to it that the process ends with its agent."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=type_)
    threading.Thread(target=_end_with_agent, daemon=True).start()
    return order


def say(line: Line) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def live(work: Callable[[Order], None], type_: type[Order]) -> None:
    """A child's whole life: its order, the work, the last word."""
    order = read_order(type_)
    try:
        work(order)
    except MeshError as trouble:
        say(Failed(trouble.code.word, trouble.message))
    except OSError as trouble:
        code = Code.NO_DISK if trouble.errno in FULL else Code.INTERNAL
        say(Failed(code.word, f"{trouble}: see to it on this node, then try again"))


def _end_with_agent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # Not through the buffer: its lock outlives Python.
        continue
    os._exit(os.EX_OK)
