"""`odyssai up`: a whole mesh on this machine, or the part of it that is asked for."""

import argparse
import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Literal, get_args

from bus import embedded
from bus.address import Address
from bus.home import HomeError, claim_home, private_folder
from bus.membership import Membership, known_membership
from ops import control, probe
from ops.child import Program
from ops.guarded import Guarded
from ops.listening import NotListening, listen
from ops.screen import Screen
from ops.supervisor import BusProgram, BusSilent, Supervisor
from proto.credentials import Role
from proto.ids import CLOUD, NodeId
from services.runner.models.names import NO_MODEL

Service = Literal["gateway", "scheduler", "runner", "cloud", "health"]
SERVICES: tuple[Service, ...] = get_args(Service)
DEFAULT_MODEL = "smollm2"
ROOT = Path(__file__).parents[1]
BUS_RESTART_S = 0.025
"""The first restart of the bus server: decoding goes on meanwhile, into the engines' rings."""
_ASK_S = 0.1
"""Between two looks at whether the gateway is ready."""


Beside = Callable[[], Coroutine[None, None, None]]
ProgramOf = Callable[["Plan", Service, Sequence[socket.socket]], Program]


class CannotStart(Exception):
    """What was asked for cannot be started; nothing has been."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run, and where."""

    home: Path
    host: str
    port: int
    tls_cert: str | None = None
    """With ``tls_key``: the gateway speaks HTTPS."""
    tls_key: str | None = None
    models: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    """NAME=MODEL each."""
    services: tuple[Service, ...] = SERVICES
    nats: str | None = None
    """The bus to join; None to bring one along."""
    access: embedded.Access | None = None
    """To a bus that is brought along, once that is prepared."""
    bus_host: str = embedded.LOOPBACK
    is_announced: bool = True
    """The local network hears of a bus that is brought along and listens beyond loopback."""
    files_host: str | None = None
    """Where other nodes fetch model files from this one; None: as it reaches the bus."""
    node: str
    memory: str | None = None
    """What models may take here; None: what the system lets them."""
    trusts_code: bool = False
    """Python in a model's folder is run."""
    log_level: str = "info"
    is_verbose: bool = False

    def bus_url(self, service: Role) -> str:
        """How a service gets in: by a key of its own, where the bus is ours."""
        if self.access is None:
            return self.nats or ""
        if service == "runner":
            return self.access.url(service, self.node)
        return self.access.url(service)

    @property
    def near(self) -> str:
        """The host by which this machine reaches the gateway."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)

    @property
    def address(self) -> str:
        host = f"[{self.near}]" if ":" in self.near else self.near
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


def main(args: argparse.Namespace) -> int:
    try:
        asyncio.run(run(planned(args), Screen()))
    except (CannotStart, NotListening, BusSilent, HomeError) as error:
        print(f"odyssai: {error}", file=sys.stderr)
        return 1
    return 0


def planned(args: argparse.Namespace) -> Plan:
    """Raises CannotStart, HomeError."""
    wanted = [name.strip() for name in args.only.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in SERVICES]
    services = tuple(service for service in SERVICES if service in wanted)
    if unknown or not services:
        raise CannotStart(
            f"--only knows no service {', '.join(unknown) or 'by an empty name'}; "
            f"there are {', '.join(SERVICES)}"
        )
    home = args.home.expanduser().absolute()
    member = None if args.nats else known_membership(home)
    if args.node == CLOUD:
        raise CannotStart(f"no node may be called {CLOUD}: engines that are upstreams are")
    plan = Plan(
        home=home,
        host=args.host,
        port=args.port,
        tls_cert=args.tls_cert,
        tls_key=args.tls_key,
        models=_models(args.model, NO_MODEL if member else DEFAULT_MODEL),
        aliases=tuple(args.alias or ()),
        services=services,
        nats=args.nats,
        bus_host=args.bus_host,
        is_announced=not getattr(args, "no_mdns", False) and is_mdns_wanted(),
        node=args.node or (member.node if member else node_name()),
        memory=args.memory,
        trusts_code=args.trust_remote_code,
        log_level=args.log_level,
        is_verbose=args.verbose,
    )
    return _of_member(plan, member) if member else plan


def _of_member(plan: Plan, member: Membership) -> Plan:
    """On the bus of the mesh that the home joined. Raises NodeOnly."""
    member.check(plan.services, plan.node)
    return replace(plan, nats=member.url(plan.home))


def _models(flags: Sequence[str] | None, default: str) -> tuple[str, ...]:
    configured = os.environ.get("ODYSSAI_MODELS", "").split(",")
    return tuple(flags or filter(None, configured)) or (default,)


def is_mdns_wanted() -> bool:
    return os.environ.get("ODYSSAI_MDNS", "1") not in ("0", "false")


def node_name() -> str:
    """This machine's name as it may stand in a subject."""
    return node_name_of(socket.gethostname())


def node_name_of(hostname: str) -> str:
    short = hostname.split(".")[0].lower()
    name = re.sub(r"[^a-z0-9]+", "-", short).strip("-") or "node"
    return f"{name}-1" if name == CLOUD else name


async def run(plan: Plan, screen: Screen, program_of: ProgramOf | None = None) -> None:
    """Until Ctrl-C. Raises CannotStart, NotListening, HomeError and BusSilent.

    ``program_of`` is a test's: what to run for a service, which may inherit sockets.
    """
    started_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        if "gateway" in plan.services:
            sockets.append(stack.enter_context(listen(plan.host, plan.port)))
        plan, bus, beside = _bus_of(plan)
        near = embedded.LOOPBACK
        url, door = plan.bus_url("gateway"), plan.access.url("doorkeeper") if plan.access else ""
        guarded = Guarded(url, plan.home, plan.host if sockets else near, bus, door)
        if bus is None and not await guarded.answers():
            raise CannotStart(guarded.why)
        bus = bus and replace(bus, answers=guarded.answers)
        supervisor = _supervisor(plan, screen, bus, sockets, program_of or _program)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, _stop, supervisor, sockets)
        beside.append(lambda: control.answer(plan.home, supervisor, plan.services))
        try:
            await supervisor.run(lambda: announce(plan, screen, started_s), *beside)
        except BusSilent as silent:
            raise (CannotStart(guarded.why) if guarded.why else silent) from None


def _stop(supervisor: Supervisor, sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
    supervisor.stop()


def _supervisor(
    plan: Plan,
    screen: Screen,
    bus: BusProgram | None,
    sockets: list[socket.socket],
    program_of: ProgramOf,
) -> Supervisor:
    return Supervisor(
        [program_of(plan, name, sockets) for name in plan.services],
        bus,
        private_folder(plan.home / "logs"),
        screen.say,
        (lambda name, line: screen.say(f"{name:9} | {line}")) if plan.is_verbose else None,
    )


def _bus_of(plan: Plan) -> tuple[Plan, BusProgram | None, list[Beside]]:
    """The plan with the bus it will use; where that is brought along, its program, too, and what
    is done for it beside the services.
    """
    if plan.nats:
        # Held until this process ends: two on one home would write into the same logs.
        claim_home(plan.home)
        return plan, None, []
    server = embedded.prepare(plan.home, plan.bus_host, NodeId(plan.node))
    program = Program(
        "nats-server",
        server.argv,
        environment=os.environ,
        inherits=(server.claim,),
        first_restart_s=BUS_RESTART_S,
        needs_leash=True,
    )
    access = server.access
    # The way to a bus on the same machine is loopback, where no other node comes.
    outward = os.environ.get("ODYSSAI_FILES_HOST") or access.outward
    joined = replace(plan, access=access, files_host=outward)
    beside: list[Beside] = [lambda: keep_door(plan, access)]
    if plan.is_announced and not access.is_local:
        beside.append(lambda: announce_bus(access))
    return joined, BusProgram(program, lambda: embedded.answers(access), plan.home / "bus"), beside


async def keep_door(plan: Plan, access: embedded.Access) -> None:
    """Let machines join, until cancelled."""
    # The NATS client takes half a second to import; the services start meanwhile.
    from ops.joining.doorkeeper import Doorkeeper

    await Doorkeeper(plan.home, access).run()


async def announce_bus(access: embedded.Access) -> None:
    """Tell the local network, until cancelled. Where that cannot be, the mesh runs unheard."""
    from ops.joining.multicast import Unheard, announced
    from services.host import VERSION

    with contextlib.suppress(Unheard):
        async with announced(access, VERSION):
            await asyncio.Event().wait()


def _program(plan: Plan, service: Service, sockets: Sequence[socket.socket]) -> Program:
    """Services but the gateway have no use for the sockets."""
    inherited = [each.fileno() for each in sockets] if service == "gateway" else []
    listening = {"ODYSSAI_LISTEN_FD": str(inherited[0])} if inherited else {}
    return Program(
        service,
        (sys.executable, "-m", f"services.{service}"),
        environment={**os.environ, **_import_path(), **_settings(plan, service), **listening},
        inherits=tuple(inherited),
        renews_in_place=service == "runner",
    )


def _import_path() -> dict[str, str]:
    """Our packages are found wherever we run, and nothing in the present folder is."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _settings(plan: Plan, service: Service) -> dict[str, str]:
    settings = {
        "ODYSSAI_NATS": plan.bus_url(service),
        "ODYSSAI_HOME": str(plan.home),
        "ODYSSAI_NODE": plan.node,
        "ODYSSAI_LOG": plan.log_level,
    }
    if service == "gateway":
        settings |= {
            "ODYSSAI_HOST": plan.host,
            "ODYSSAI_PORT": str(plan.port),
            "ODYSSAI_TLS_CERT": plan.tls_cert or "",
            "ODYSSAI_TLS_KEY": plan.tls_key or "",
        }
    if service == "runner":
        settings |= {"ODYSSAI_MODELS": ",".join(plan.models)}
        if plan.aliases:
            settings |= {"ODYSSAI_ALIASES": ",".join(plan.aliases)}
        if plan.memory:
            settings["ODYSSAI_MEMORY"] = plan.memory
        if plan.files_host:
            settings["ODYSSAI_FILES_HOST"] = plan.files_host
        if plan.trusts_code:
            settings["ODYSSAI_TRUST_REMOTE_CODE"] = "1"
    return settings


async def announce(plan: Plan, screen: Screen, started_s: float) -> None:
    """Say once that it serves, and how to use it."""
    if "gateway" not in plan.services:
        screen.say(f"runs {', '.join(plan.services)}\n{_places(plan)}\n\n  Ctrl-C ends all.")
        return
    # Without a model of its own it serves what others hold, and loads what is asked for.
    sign = "/health" if plan.models == (NO_MODEL,) else "/ready"
    tls = probe.UNVERIFIED if plan.tls_cert else None
    # Who asks before the gateway is there waits for it.
    screen.progress(_awaited(plan))
    while (await probe.fetch(plan.near, plan.port, sign, tls))[0] != 200:
        screen.progress(_awaited(plan), f" {time.monotonic() - started_s:.0f} s")
        await asyncio.sleep(_ASK_S)
    status, body = await probe.fetch(plan.near, plan.port, "/v1/models", tls)
    needs_key = status == HTTPStatus.UNAUTHORIZED
    screen.say(_welcome(plan, _models_of(body), needs_key, time.monotonic() - started_s))


def _awaited(plan: Plan) -> str:
    if "runner" in plan.services and plan.models != (NO_MODEL,):
        return f"loading {', '.join(Path(model).name for model in plan.models)} …"
    return f"starting {', '.join(plan.services)} …"


def _models_of(body: bytes) -> dict[str, str]:
    """What can be asked for, and of what kind it is."""
    try:
        return {str(m["id"]): str(m["x_odyssai"]["kind"]) for m in json.loads(body)["data"]}
    except (ValueError, TypeError, KeyError):
        return {}


def example(models: dict[str, str]) -> tuple[str, dict[str, object]]:
    """A request that one of them can answer, by chatting if any can."""
    text = "What is the capital of France?"
    chats = [id for id, kind in models.items() if kind in ("llm", "vlm")]
    id, kind = next(iter(models.items()), ("MODEL", "llm"))
    if chats or kind not in ("embedder", "reranker"):
        said = [{"role": "user", "content": text}]
        return "/v1/chat/completions", {"model": next(iter(chats), id), "messages": said}
    if kind == "embedder":
        return "/v1/embeddings", {"model": id, "input": text}
    return "/v1/rerank", {"model": id, "query": text, "documents": ["Paris is.", "No idea."]}


def _welcome(plan: Plan, models: dict[str, str], needs_key: bool, took_s: float) -> str:
    path, question = example(models)
    there = ", ".join(models) or "none yet"
    if needs_key:
        there = "for holders of a key; `odyssai key create NAME` makes one"
    shown = " -H 'Authorization: Bearer KEY'" if needs_key else ""
    return f"""
odyssai serves, after {took_s:.1f} s

  address  {plan.address}/v1
  model    {there}
{_places(plan)}

  curl {plan.address}{path}{shown} -H 'Content-Type: application/json' \
-d {shlex.quote(json.dumps(question))}

  Ctrl-C ends all.
"""


def _places(plan: Plan) -> str:
    if plan.access:
        bus = f"{plan.access.address}  (keys in {plan.home / 'bus' / 'keys'})"
    else:
        bus = Address.parse(plan.nats or "").shown
    return f"  bus      nats://{bus}\n  logs     {plan.home / 'logs'}"
