"""`odyssai launch`: a coding tool that uses the mesh, or the lines that make it do so."""

import argparse
import asyncio
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from bus import embedded
from bus.connection import Bus
from bus.errors import BusError
from bus.home import HomeError
from ops.coding_client import CLIENTS, TOKEN, CodingClient, Model, Served
from proto.presence import GatewayBeat
from proto.subjects import GATEWAY_BEAT

HEAR_S = 3.0
"""A gateway says where it is once a second."""
ASK_S = 10.0
SMALL_CONTEXT = 32_768
"""Tokens. What coding tools say before the first question may fill half of it."""
CHATTING = ("llm", "vlm")


class CannotLaunch(Exception):
    """Why not, and what to do."""


def main(args: argparse.Namespace) -> int:
    try:
        _launch(CLIENTS[args.tool], args)
    except (CannotLaunch, BusError, HomeError) as error:
        print(f"odyssai: {error}", file=sys.stderr)
        return 1
    return 0


def _launch(client: CodingClient, args: argparse.Namespace) -> None:
    """Becomes the tool, unless its lines are only to be printed. Raises CannotLaunch."""
    program = shutil.which(client.name)
    if program is None and not args.print:
        raise CannotLaunch(
            f"{client.name} is not installed, or not on PATH; install it: {client.install}"
        )
    url = (args.url or asyncio.run(_address(args))).rstrip("/").removesuffix("/v1")
    key = os.environ.get("ODYSSAI_API_KEY") or TOKEN
    mesh = replace(served(url, _models_of(url, key), args.model), key=key)
    for warning in warnings(mesh.model):
        print(f"odyssai: {warning}", file=sys.stderr)
    launch = client.start(mesh, args.passed_on)
    if args.print:
        print(launch.shell())
        return
    assert program is not None
    sys.stdout.flush()
    os.execve(program, launch.argv, launch.environment(dict(os.environ)))


def served(url: str, models: tuple[Model, ...], wanted: str | None) -> Served:
    """The wanted model, or the first that calls tools, or the first. Raises CannotLaunch."""
    if not models:
        raise CannotLaunch(f"the mesh at {url} has no model that chats; start one with --model")
    if wanted is None:
        return Served(url, next((m for m in models if m.calls_tools), models[0]), models)
    found = next((model for model in models if model.id == wanted), None)
    if found is None:
        known = ", ".join(model.id for model in models)
        raise CannotLaunch(f"the mesh at {url} has no model {wanted} that chats; it has {known}")
    return Served(url, found, models)


def warnings(model: Model) -> list[str]:
    """What is likely to disappoint."""
    found = []
    if not model.calls_tools:
        found.append(f"{model.id} does not call tools, and a coding tool needs them")
    if 0 < model.context_length < SMALL_CONTEXT:
        found.append(
            f"{model.id} holds {model.context_length} tokens, and coding tools begin with many "
            "thousands"
        )
    return found


async def _address(args: argparse.Namespace) -> str:
    """Of a gateway on the bus of --nats, or of the home. Raises CannotLaunch, BusError."""
    start = "start a mesh with `odyssai up`, or give its address with --url"
    bus_url = args.nats
    if not bus_url:
        home: Path = args.home.expanduser().absolute()
        access = embedded.known_access(home)
        if access is None or not await embedded.answers(access, 1.0):
            raise CannotLaunch(f"no mesh runs on {home}; {start}")
        bus_url = access.url("console")
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def hear(beat: GatewayBeat) -> None:
        if not heard.done():
            heard.set_result(beat.url)

    async with Bus.connect(bus_url, f"ops:launch-{os.getpid()}") as bus:
        await bus.listen(GATEWAY_BEAT, hear)
        try:
            return await asyncio.wait_for(heard, HEAR_S)
        except TimeoutError:
            raise CannotLaunch(f"the mesh has no gateway now; {start}") from None


def _models_of(url: str, key: str) -> tuple[Model, ...]:
    """Raises CannotLaunch."""
    # A mesh is on this machine or near it: no proxy stands between.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        question = urllib.request.Request(f"{url}/v1/models")
        question.add_header("Authorization", f"Bearer {key}")
        with opener.open(question, timeout=ASK_S) as answer:
            entries = json.load(answer)["data"]
            return tuple(_model(entry) for entry in entries if _kind(entry) in CHATTING)
    except urllib.error.HTTPError as error:
        with error:
            raise CannotLaunch(_refusal(url, error)) from error
    except (OSError, urllib.error.URLError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "reason", None) or error
        raise CannotLaunch(
            f"no mesh answers at {url} ({why}); start one with `odyssai up`, or check the address"
        ) from error


def _refusal(url: str, error: urllib.error.HTTPError) -> str:
    if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (
            f"the mesh at {url} asks for an API key; make one with `odyssai key create NAME`, and "
            "set ODYSSAI_API_KEY to it"
        )
    return f"the mesh at {url} answers {error.code}; its gateway's log has more"


def _kind(entry: dict[str, Any]) -> str:
    return str(entry.get("x_odyssai", {}).get("kind", CHATTING[0]))


def _model(entry: dict[str, Any]) -> Model:
    more = entry.get("x_odyssai", {})
    return Model(
        id=str(entry["id"]),
        context_length=int(more.get("context_length") or 0),
        max_output_tokens=int(more.get("max_output_tokens") or 0),
        calls_tools=bool(more.get("supports_tools", False)),
    )
