"""Commands about other servers whose models are served here."""

import argparse
from typing import Any

from ops.arguments import values
from ops.arguments.reach import add_json, add_nats

KINDS = (
    "openai", "anthropic", "openrouter", "openai-compatible",
    "ollama", "lmstudio", "vllm", "llamacpp", "llama-cpp-python", "mlx-lm",
    "telemak", "odyssai", "mesh",
)  # fmt: skip
"""Of ``proto.config.ProviderKind``, whose import takes time."""
MAIN = "main"


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "provider", help="cloud vendors and other servers: add them, test them, their keys"
    )
    acts = parser.add_subparsers(required=True, metavar="ACT")
    _add_add(_act(acts, "add", "serve a provider's models as NAME:id"))
    add_json(_act(acts, "list", "every provider: state, models, keys, what is wrong"))
    test = _act(acts, "test", "ask it for its models now, with each of its keys")
    test.add_argument("name", metavar="NAME")
    add_json(test)
    remove = _act(acts, "rm", "its models are gone, and its keys; what runs finishes")
    remove.add_argument("name", metavar="NAME")
    keys = acts.add_parser("key", help="a provider's keys").add_subparsers(
        required=True, metavar="ACT"
    )
    for act, purpose in (
        ("add", "another key, used where the first is refused or has had enough"),
        ("rotate", "put another key in its place: the next request uses it"),
        ("rm", "it is used no more"),
    ):
        _add_key(_act(keys, act, purpose, f"key {act}"), act)


def _act(acts: Any, act: str, purpose: str, known_as: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(act, help=purpose)
    parser.set_defaults(module="ops.console.providers", act=known_as or act)
    add_nats(parser)
    return parser


def _add_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a-z, 0-9 and -, such as oa")
    parser.add_argument(
        "--kind", choices=KINDS, metavar="KIND",
        help=f"{', '.join(KINDS)} (default: what oa, an and or stand for, else openai-compatible)",
    )  # fmt: skip
    parser.add_argument("--url", metavar="URL", help="its base URL; vendors need none")
    parser.add_argument(
        "--model", action="append", metavar="PATTERN",
        help="serve this one only, * standing for anything; more than once for more",
    )  # fmt: skip
    parser.add_argument(
        "--hide",
        action="append",
        metavar="PATTERN",
        help="do not serve it; more than once for more",
    )
    parser.add_argument("--requests", type=values.count, metavar="N", help="sent at once (256)")
    _add_source(parser, may_be_none=True)


def _add_key(parser: argparse.ArgumentParser, act: str) -> None:
    parser.add_argument("name", metavar="NAME", help="of the provider")
    parser.add_argument(
        "key", metavar="KEY", nargs="?", default=MAIN,
        help=f"what the key is called, not the key itself (default: {MAIN})",
    )  # fmt: skip
    if act != "rm":
        _add_source(parser, may_be_none=False)


def _add_source(parser: argparse.ArgumentParser, *, may_be_none: bool) -> None:
    """There is no option for a key itself: arguments are seen by everybody on the machine."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--key-from-env", metavar="VARIABLE",
        help="take the key from this variable (default: ask for it, or read standard input)",
    )  # fmt: skip
    if may_be_none:
        source.add_argument("--no-key", action="store_true", help="it asks for none")
