"""`odyssai config`: what is in effect and from where, one setting at a time, a file's mistakes."""

import argparse
import sys
import time
from collections.abc import Callable

import msgspec
import yaml

from bus.config import change_layer, look_at, open_layers
from bus.connection import Bus
from ops.console.operator import audit_log, operator
from ops.console.terminal import complain, run
from proto.config import Config, ConfigLayer, ConfigView
from proto.effective import merged
from proto.setting_path import NoSuchSetting, path_of, setting, without
from services.scheduler.configuration.document import NotConfig
from services.scheduler.configuration.text import parse

ORIGIN = "odyssai config"


def main(args: argparse.Namespace) -> int:
    if args.act == "check":
        return check(args)
    try:
        return run({"show": _show, "set": _set, "unset": _unset}[args.act], args)
    except (NoSuchSetting, msgspec.ValidationError, yaml.YAMLError) as error:
        complain(f"{args.setting}: {error}")
        return 1


def check(args: argparse.Namespace) -> int:
    """0 when the file makes sense, 1 with the line that does not."""
    try:
        parse(args.file.read_text())
    except (NotConfig, OSError, UnicodeDecodeError) as error:
        complain(f"{args.file}, {error}")
        return 1
    print(f"{args.file} makes sense.")
    return 0


async def _show(args: argparse.Namespace, bus: Bus) -> int:
    view = await look_at(await open_layers(bus))
    print(msgspec.json.encode(view).decode() if args.json else told(view))
    if view.file is not None and view.file.problem:
        complain(f"not in effect: {view.file.problem}")
    return 0


def told(view: ConfigView) -> str:
    """What is in effect, as a file would say it, below a remark on where it comes from."""
    layers = {"file": view.file, "set later": view.admin}
    origins = [f"# {name}: {layer.origin}" for name, layer in layers.items() if layer]
    plain = msgspec.to_builtins(view.effective)
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True) if plain else "# nothing"
    return "\n".join([*origins, text.rstrip()])


async def _set(args: argparse.Namespace, bus: Bus) -> int:
    change = setting(path_of(args.setting), yaml.safe_load(args.value))
    return await _change(bus, args, lambda before: merged(before, change))


async def _unset(args: argparse.Namespace, bus: Bus) -> int:
    path = path_of(args.setting)
    return await _change(bus, args, lambda before: without(before, path))


async def _change(bus: Bus, args: argparse.Namespace, change: Callable[[Config], Config]) -> int:
    def changed(layer: ConfigLayer) -> ConfigLayer:
        return ConfigLayer(config=change(layer.config), origin=ORIGIN, at_s=time.time())

    async with audit_log(bus).act(f"config.{args.act}", operator(), detail=args.setting):
        await change_layer(await open_layers(bus), "admin", changed)
    print("in effect", file=sys.stderr)
    return 0
