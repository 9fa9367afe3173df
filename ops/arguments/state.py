"""The command about shared state."""

from typing import Any

from ops.arguments.reach import add_nats


def add(commands: Any) -> None:
    parser = commands.add_parser("state", help="list records of the mesh's state that are spoiled")
    parser.set_defaults(module="ops.console.state")
    parser.add_argument("--drop", metavar="RECORD", help="remove one, such as plans/studio")
    add_nats(parser)
