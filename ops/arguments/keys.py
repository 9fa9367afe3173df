"""Commands about who may come in by HTTP, and who did what."""

import argparse
from typing import Any

from ops.arguments import values
from ops.arguments.reach import add_json, add_nats

SCOPES = ("inference", "models", "telemetry", "admin")
"""Of ``proto.config.Scope``, whose import takes time."""


def add(commands: Any) -> None:
    parser = commands.add_parser("key", help="API keys: make them, list them, revoke them")
    acts = parser.add_subparsers(required=True, metavar="ACT")
    _add_create(_act(acts, "create", "make a key; it is printed once, and never again"))
    add_json(_act(acts, "list", "every key: what it may, what it has spent, when it expires"))
    shown = _act(acts, "show", "all about one key, but the key itself")
    shown.add_argument("name", metavar="NAME")
    add_json(shown)
    revoke = _act(acts, "revoke", "it opens nothing any more; what runs for it is cut")
    revoke.add_argument("name", metavar="NAME")
    _add_usage(commands.add_parser("usage", help="what was used, and what it cost"))
    _add_audit(commands.add_parser("audit", help="who did what: keys, models, machines, settings"))


def _act(acts: Any, act: str, purpose: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(act, help=purpose)
    parser.set_defaults(module="ops.console.keys", act=act)
    add_nats(parser)
    return parser


def _add_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="who will use it, or for what")
    parser.add_argument(
        "--scope", action="append", choices=SCOPES, metavar="SCOPE",
        help="inference, models, telemetry or admin; more than once for more "
        "(default: inference and models)",
    )  # fmt: skip
    parser.add_argument(
        "--model", action="append", metavar="MODEL",
        help="may use this one only, * standing for anything; more than once for more",
    )  # fmt: skip
    parser.add_argument(
        "--expires", type=values.moment, metavar="WHEN", help="30d, 12h or 2027-01-31"
    )
    parser.add_argument("--rate", type=values.count, metavar="N", help="requests a minute")
    parser.add_argument(
        "--token-rate", type=values.amount, metavar="N", help="tokens a minute, such as 200k"
    )
    parser.add_argument(
        "--budget", action="append", type=values.budget, metavar="N[/day|/month]",
        help="tokens in all, a day or a month (UTC), such as 5M/day; more than once for more",
    )  # fmt: skip
    parser.add_argument(
        "--usd", action="append", type=values.usd, metavar="N[/day|/month]",
        help="US dollars in all, a day or a month (UTC), such as 2.50/day; more than once for more",
    )  # fmt: skip
    parser.add_argument(
        "--owner", metavar="WHO", help="whose it is: keys of one owner share cached prompts"
    )
    parser.add_argument(
        "--local-only", action="store_true", default=None,
        help="nothing that it asks leaves the local network",
    )  # fmt: skip
    parser.add_argument("--weight", type=float, metavar="X", help="its share beside others' (1)")
    parser.add_argument("--priority", choices=("interactive", "batch"), help="the best it may ask")
    add_json(parser)


def _add_usage(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.console.usage")
    add_nats(parser)
    parser.add_argument(
        "--days", type=values.count, default=30, metavar="N", help="until today (default: 30)"
    )
    parser.add_argument(
        "--by", type=values.names, default=["day"], metavar="WHAT",
        help="key, model, day or provider, or some of them with commas (default: day)",
    )  # fmt: skip
    parser.add_argument("--key", metavar="NAME", help="of one key only")
    parser.add_argument("--model", metavar="MODEL", help="of one model only, by its id")
    add_json(parser)


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.console.audit")
    add_nats(parser)
    parser.add_argument(
        "--since", type=values.duration, default="7d", metavar="TIME", help="(default: 7d)"
    )
    parser.add_argument("--follow", action="store_true", help="go on with what is done next")
    add_json(parser)
