"""Stand-ins for the services, and a supervisor over them: `python fake_mesh.py ROLE …`.

A process of its own, so that a test may kill it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import FrameType

import psutil

from ops import up
from ops.child import Program
from ops.screen import Screen

GONE_S = 2.0
"""However a supervisor ends, this much later nothing of it may be left."""

MODELS = b"""{"object": "list", "data": [
    {"id": "A-Vector", "x_odyssai": {"kind": "embedder"}},
    {"id": "Tiny-1B.v2", "x_odyssai": {"kind": "llm"}}
]}"""


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Corpses left out: where nobody buries orphans, they lie about."""
    return [process for process in processes if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def left_of(family: list[psutil.Process]) -> list[psutil.Process]:
    """Who is still alive when all should be gone."""
    end_s = time.monotonic() + GONE_S
    while (left := living(family)) and time.monotonic() < end_s:
        time.sleep(0.01)
    return left


def program(name: str, *arguments: str, needs_leash: bool = False) -> Program:
    return Program(
        name,
        (sys.executable, __file__, *arguments),
        environment={**os.environ, "PYTHONPATH": str(up.ROOT), "PYTHONUNBUFFERED": "1"},
        needs_leash=needs_leash,
    )


def hold_lifeline() -> None:
    lifeline = int(os.environ["ODYSSAI_LIFELINE_FD"])

    def watch() -> None:
        os.read(lifeline, 1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def gateway(port: str) -> None:
    """Ready after a moment, as a real one is."""
    ready_s = time.monotonic() + 0.3

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if time.monotonic() > ready_s else 503)
            self.end_headers()
            self.wfile.write(MODELS)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", int(port)), Answer, bind_and_activate=False)
    server.socket = socket.socket(fileno=int(os.environ["ODYSSAI_LISTEN_FD"]))
    server.serve_forever()


def runner() -> None:
    """Has an engine in a session of its own, that nobody but the lifeline ends."""
    lifeline = int(os.environ["ODYSSAI_LIFELINE_FD"])
    subprocess.Popen(
        [sys.executable, __file__, "engine"], pass_fds=(lifeline,), start_new_session=True
    )
    signal.pause()


def quitter(diary: str, pause_s: str = "0") -> None:
    """Notes that it was asked to end, and takes its time."""

    def leave(*_: object) -> None:
        time.sleep(float(pause_s))
        with Path(diary).open("a") as file:
            file.write(f"{Path(diary).parent.name} {time.monotonic()}\n")
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    print("waits", flush=True)
    while True:
        signal.pause()


def heir(mood: str = "") -> None:
    """Serves, and leaves when another does; by its mood in place, slowly, or not a second time."""
    again = "ODYSSAI_AGAIN" in os.environ
    if again and mood == "broken":
        sys.exit(1)

    def serve() -> None:
        print("serves", os.getpid(), flush=True)
        os.write(int(os.environ["ODYSSAI_READY_FD"]), b"\n")

    def hand_over(*_: object) -> None:
        if mood == "in place":
            serve()
        elif mood != "slow":
            sys.exit(0)

    signal.signal(signal.SIGUSR1, hand_over)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve()
    while True:
        signal.pause()


def stubborn() -> None:
    def stay(_: int, frame: FrameType | None) -> None:
        print("no", flush=True)

    signal.signal(signal.SIGTERM, stay)
    print("waits", flush=True)
    while True:
        signal.pause()


def mesh(home: str, port: str) -> None:
    plan = up.Plan(
        home=Path(home),
        host="127.0.0.1",
        port=int(port),
        models=("tiny",),
        node="here",
        services=("gateway", "runner"),
    )
    asyncio.run(up.run(plan, Screen(), fake))


def fake(plan: up.Plan, service: str, sockets: Sequence[socket.socket]) -> Program:
    if service == "runner":
        return program("runner", "runner")
    (listening,) = [each.fileno() for each in sockets]
    made = program("gateway", "gateway", str(plan.port))
    told = {**made.environment, "ODYSSAI_LISTEN_FD": str(listening)}
    return replace(made, environment=told, inherits=(listening,))


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role not in ("mesh", "quitter", "stubborn", "heir"):
        hold_lifeline()
    if role == "crasher":
        print("the disk is on fire")
        sys.exit(3)
    elif role == "misled":
        print("ODYSSAI_PORT must be a number")
        sys.exit(os.EX_CONFIG)
    elif role == "engine":
        signal.pause()
    else:
        globals()[role](*arguments)
