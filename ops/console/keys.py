"""`odyssai key`: API keys made, listed, shown, revoked, also before the mesh was ever started."""

import argparse
import sys
import time
from collections.abc import Iterator

import msgspec
import yaml
from msgspec import UNSET

from bus.connection import Bus
from bus.keys import create_key, list_keys, revoke_key, unknown_key
from ops.console.home_bus import with_bus
from ops.console.operator import audit_log, operator
from ops.console.tables import Table, show
from ops.console.terminal import run
from ops.words import duration
from proto.config import KeyConfig
from proto.effective import value
from proto.keys import KeyView, scopes_of
from proto.money import nano_usd, shown


def main(args: argparse.Namespace) -> int:
    acts = {"create": _create, "list": _list, "show": _show, "revoke": _revoke}
    return run(acts[args.act], args, with_bus)


async def _create(args: argparse.Namespace, bus: Bus) -> int:
    settings, by = settings_of(args), operator()
    plain = msgspec.json.encode(settings).decode()
    async with audit_log(bus).act("key.create", by, args.name, plain):
        key, view = await create_key(bus, args.name, settings, by.name)
    if args.json:
        print(msgspec.json.encode({"key": key.text, "about": view}).decode(), flush=True)
        return 0
    # The key alone goes to standard output, so that KEY=$(odyssai key create NAME) holds just it.
    print(key.text, flush=True)
    print(f"\nThis is the key {args.name}. It is kept nowhere: copy it now.", file=sys.stderr)
    return 0


def settings_of(args: argparse.Namespace) -> KeyConfig:
    told = {
        "scopes": args.scope,
        "models": args.model,
        "expires": args.expires,
        "requests_per_minute": args.rate,
        "tokens_per_minute": args.token_rate,
        "owner": args.owner,
        "local_only": args.local_only,
        "weight": args.weight,
        "priority": args.priority,
        **dict(args.budget or ()),
        **dict(args.usd or ()),
    }
    return msgspec.convert({name: it for name, it in told.items() if it is not None}, KeyConfig)


async def _list(args: argparse.Namespace, bus: Bus) -> int:
    keys = await list_keys(bus)
    if args.json:
        print(msgspec.json.encode(keys).decode())
    else:
        show(table(keys, time.time()))
    return 0


async def _show(args: argparse.Namespace, bus: Bus) -> int:
    found = [key for key in await list_keys(bus) if key.name == args.name]
    if not found:
        raise unknown_key(args.name)
    if args.json:
        print(msgspec.json.encode(found[0]).decode())
    else:
        plain = msgspec.to_builtins(found[0])
        print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip())
    return 0


async def _revoke(args: argparse.Namespace, bus: Bus) -> int:
    by = operator()
    async with audit_log(bus).act("key.revoke", by, args.name):
        await revoke_key(bus, args.name, by.name)
    print(f"{args.name} is revoked", file=sys.stderr)
    return 0


def table(keys: list[KeyView], now_s: float) -> Table:
    return Table(
        heads=("NAME", "KEY", "OWNER", "MAY", "MODELS", "LIMITS", "BUDGET", "EXPIRES"),
        rows=[_row(key, now_s) for key in keys],
        nothing="There is no key; `odyssai key create NAME` makes one.",
    )


def _row(key: KeyView, now_s: float) -> tuple[str, ...]:
    told = key.settings
    return (
        key.name,
        f"{key.prefix}_…" if key.prefix else "(configured)",
        value(told.owner, ""),
        ", ".join(value(told.scopes, list(scopes_of(told)))),
        ", ".join(value(told.models, ["*"])),
        ", ".join(_limits(told)),
        ", ".join(_budgets(key)),
        _expiry(key, now_s),
    )


def _limits(told: KeyConfig) -> Iterator[str]:
    for limit, of in ((told.requests_per_minute, "requests"), (told.tokens_per_minute, "tokens")):
        if limit is not UNSET and limit is not None:
            yield f"{limit} {of}/min"
    if value(told.local_only, False):
        yield "local only"


def _budgets(key: KeyView) -> Iterator[str]:
    if key.spent is None:
        return
    told, spent = key.settings, key.spent
    tokens = (
        (told.tokens_per_day, spent.in_day, "/day"),
        (told.tokens_per_month, spent.in_month, "/month"),
        (told.tokens_in_all, spent.in_all, ""),
    )
    for limit, taken, each in tokens:
        if limit is not UNSET and limit is not None:
            yield f"{taken} of {limit}{each}"
    usd = (
        (told.usd_per_day, spent.nano_usd_in_day, "/day"),
        (told.usd_per_month, spent.nano_usd_in_month, "/month"),
        (told.usd_in_all, spent.nano_usd_in_all, ""),
    )
    for dollars, taken, each in usd:
        if dollars is not UNSET and dollars is not None:
            yield f"{shown(taken)} of {shown(nano_usd(dollars))}{each}"


def _expiry(key: KeyView, now_s: float) -> str:
    expires = key.settings.expires
    if expires is UNSET or expires is None:
        return "never"
    return "expired" if key.is_expired else f"in {duration(expires.timestamp() - now_s)}"
