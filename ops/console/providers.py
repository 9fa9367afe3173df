"""`odyssai provider`: cloud vendors and other servers added, tested, listed, taken away."""

import argparse
import sys

import msgspec

from bus.connection import Bus
from bus.providers import (
    add_provider,
    check_provider,
    drop_key,
    expect_key_name,
    keep_key,
    list_providers,
    remove_provider,
)
from ops.console.operator import audit_log, operator
from ops.console.secret import handed_over
from ops.console.tables import Table, show
from ops.console.terminal import complain, run
from proto.config import ProviderConfig, ProviderKind
from proto.errors import Code, MeshError
from proto.provider import ProviderCheck, ProviderKeyView, ProviderView

KINDS: dict[str, ProviderKind] = {"oa": "openai", "an": "anthropic", "or": "openrouter"}
"""Names that say what they are."""


def main(args: argparse.Namespace) -> int:
    acts = {
        "add": _add,
        "list": _list,
        "test": _test,
        "rm": _remove,
        "key add": _add_key,
        "key rotate": _rotate_key,
        "key rm": _remove_key,
    }
    return run(acts[args.act], args)


async def _add(args: argparse.Namespace, bus: Bus) -> int:
    settings, by = settings_of(args), operator()
    secret = None if args.no_key else handed_over(args.name, args.key_from_env)
    plain = msgspec.json.encode(settings).decode()
    async with audit_log(bus).act("provider.add", by, args.name, plain):
        await add_provider(bus, args.name, settings, secret, by.name)
    return tell(await check_provider(bus, args.name))


def settings_of(args: argparse.Namespace) -> ProviderConfig:
    """Raises MeshError."""
    kind = args.kind or (None if args.url else KINDS.get(args.name))
    if kind is None and not args.url:
        raise MeshError(
            Code.INVALID_REQUEST,
            f"What is {args.name}? Say --kind openai, anthropic or openrouter, or --url URL.",
        )
    told = {
        "kind": kind,
        "url": args.url,
        "models": args.model,
        "hides": args.hide,
        "requests": args.requests,
    }
    try:
        return msgspec.convert({n: it for n, it in told.items() if it is not None}, ProviderConfig)
    except msgspec.ValidationError as error:
        raise MeshError(Code.INVALID_REQUEST, f"That cannot be: {error}") from error


async def _list(args: argparse.Namespace, bus: Bus) -> int:
    providers = await list_providers(bus)
    if args.json:
        print(msgspec.json.encode(providers).decode())
        return 0
    show(table(providers))
    for view in providers:
        if view.trouble:
            complain(f"{view.name}: {view.trouble}")
    return 0


async def _test(args: argparse.Namespace, bus: Bus) -> int:
    checked = await check_provider(bus, args.name)
    if args.json:
        print(msgspec.json.encode(checked).decode())
        return 1 if checked.problem else 0
    return tell(checked)


async def _remove(args: argparse.Namespace, bus: Bus) -> int:
    by = operator()
    async with audit_log(bus).act("provider.remove", by, args.name):
        await remove_provider(bus, args.name, by.name)
    print(f"{args.name} is removed, and the keys that were kept for it", file=sys.stderr)
    return 0


async def _add_key(args: argparse.Namespace, bus: Bus) -> int:
    return await _keep(args, bus, "provider.key.add", replaces=False)


async def _rotate_key(args: argparse.Namespace, bus: Bus) -> int:
    return await _keep(args, bus, "provider.key.rotate", replaces=True)


async def _keep(args: argparse.Namespace, bus: Bus, act: str, *, replaces: bool) -> int:
    expect_key_name(args.key)
    secret, by = handed_over(args.name, args.key_from_env), operator()
    async with audit_log(bus).act(act, by, f"{args.name}/{args.key}"):
        kept = await keep_key(bus, args.name, args.key, secret, by.name, replaces=replaces)
    print(f"{args.name} uses {kept.name} ({kept.hint}) from its next request on", file=sys.stderr)
    return 0


async def _remove_key(args: argparse.Namespace, bus: Bus) -> int:
    expect_key_name(args.key)
    by = operator()
    async with audit_log(bus).act("provider.key.remove", by, f"{args.name}/{args.key}"):
        await drop_key(bus, args.name, args.key)
    print(f"{args.name} uses {args.key} no more", file=sys.stderr)
    return 0


def tell(checked: ProviderCheck) -> int:
    """The exit status: 1 where something is wrong."""
    for key in checked.keys:
        print(f"{key.hint}: {key.problem or 'accepted'}")
    if checked.problem:
        complain(f"{checked.provider} at {checked.url}: {checked.problem}")
        return 1
    print(
        f"{checked.provider} at {checked.url} told {checked.told} models in "
        f"{checked.took_s:.1f} s; {checked.served} are served as {checked.provider}:…"
    )
    return 0


def table(providers: list[ProviderView]) -> Table:
    return Table(
        heads=("NAME", "KIND", "STATE", "MODELS", "RUNNING", "KEYS", "URL"),
        rows=[_row(view) for view in providers],
        nothing="There is no provider; `odyssai provider add oa` adds OpenAI.",
    )


def _row(view: ProviderView) -> tuple[str, ...]:
    return (
        view.name,
        view.settings.kind or "openai-compatible",
        view.state,
        str(view.models),
        str(view.running),
        ", ".join(map(_key, view.keys)) or "none",
        view.url,
    )


def _key(key: ProviderKeyView) -> str:
    return f"{key.name} {key.hint}" if key.origin == "kept" else f"${key.name} {key.hint}"
