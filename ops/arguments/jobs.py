"""Commands about jobs: what goes on, and steering it."""

import argparse
from typing import Any

from ops.arguments.reach import add_json, add_nats

WISHES = {
    "cancel": "end a job",
    "pause": "let a job rest",
    "resume": "let a paused job go on",
    "retry": "try a failed job again",
}


def add(commands: Any) -> None:
    shown = commands.add_parser("jobs", help="list what goes on, or follow one job")
    _of_jobs(shown, "")
    shown.add_argument("job", nargs="?", metavar="JOB", help="its id, or the beginning of it")
    shown.add_argument("--follow", action="store_true", help="until it is over")
    shown.add_argument("--all", action="store_true", help="also what ended more than a day ago")
    for wish, purpose in WISHES.items():
        steering = commands.add_parser(wish, help=purpose)
        _of_jobs(steering, wish)
        steering.add_argument("job", metavar="JOB", help="its id, or the beginning of it")


def _of_jobs(parser: argparse.ArgumentParser, wish: str) -> None:
    parser.set_defaults(module="ops.console.jobs", wish=wish)
    add_nats(parser)
    add_json(parser)
