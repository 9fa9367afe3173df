"""One gateway process: what it holds, how it starts, how it ends."""

import asyncio
import gc
import logging
import os
import socket
import time

from bus import blobs
from bus.fleet import Fleet
from bus.gateways import answer_probes
from bus.presence import asyncio_tasks, beat, farewell
from bus.stream import TokenSource
from proto.ids import gateway_id
from proto.keys import scopes_of_others, unguarded
from proto.presence import HEARTBEAT_S, GatewayBeat, Gone
from proto.subjects import GATEWAY_BEAT
from services.gateway.app import application, refuse
from services.gateway.asking.mesh import Mesh
from services.gateway.asking.watch import Watch
from services.gateway.drain import drain
from services.gateway.gateway import Gateway
from services.gateway.http.door import Door
from services.gateway.http.hosts import Hosts
from services.gateway.http.listening import listener
from services.gateway.http.loopback import is_loopback
from services.gateway.http.server import HttpServer
from services.gateway.http.tls import Tls
from services.gateway.settings import Settings
from services.host import Host, SettingError

log = logging.getLogger(__name__)

ROUND_S = HEARTBEAT_S + 0.25
"""In which everybody who lives is heard."""
CONFIGURED_S = 5.0
"""How long a gateway that strangers reach waits for somebody to say who may come in."""
LOOK_S = 0.1
REPORTED_S = 2.0
"""How long a gateway that ends tries to report what was used."""


async def serve(host: Host) -> None:
    """Serve until asked to stop, then let open requests finish for a while."""
    settings = Settings.read()
    tls = Tls(settings.tls) if settings.tls else None
    listening = listener(settings.host, settings.port)
    url = _url(settings, listening)
    fleet = Fleet()
    await fleet.follow(host.bus)
    id = gateway_id(host.credential, host.id)
    async with TokenSource.connect(host.bus, id) as source:
        mesh = Mesh(host.bus, source, fleet, settings.load_wait_s)
        watch = Watch(mesh)
        await watch.follow()
        gateway = Gateway(id, host.boot, settings, mesh, watch)
        await gateway.background.follow()
        await host.bus.listen(GATEWAY_BEAT, gateway.entrance.limits.hear)
        await blobs.give_out(host.bus, gateway.id, gateway.images.store.find)
        await answer_probes(host.bus, gateway.id, host.boot)
        await host.bus.settled()
        await gateway.entrance.read(host.bus)
        await _expect_guarded(host, gateway, listening)
        hosts = Hosts.of(settings.host, str(listening.getsockname()[0]), settings.allowed_hosts)
        door = Door(application(gateway), hosts, refuse)
        server = HttpServer(door, settings.bounds, tls)
        # Nothing built so far is ever garbage; looking through it took 4 % of a token's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        async with asyncio.TaskGroup() as tasks:
            living = [
                tasks.create_task(watch.run()),
                tasks.create_task(server.give_up_stalled(settings.stall_s)),
                tasks.create_task(gateway.entrance.run(host.bus)),
                tasks.create_task(gateway.shelf.run(host.bus)),
                tasks.create_task(gateway.once.prepare()),
                tasks.create_task(gateway.outbox.run(host.bus)),
                tasks.create_task(_present(host, gateway, url)),
            ]
            if tls is not None:
                living.append(tasks.create_task(tls.stay_fresh()))
            if settings.starts_again:
                # Who is there has been so for long, and is heard before anybody is answered.
                await host.unless_stopped(asyncio.sleep(ROUND_S))
            serving = tasks.create_task(server.serve([listening]))
            log.info("listening on %s", url)
            host.ready()
            await host.stopping.wait()
            await drain(host, gateway, server, serving)
            for task in living:
                task.cancel()
        await _reported(host, gateway)
        await gateway.images.close()


async def _reported(host: Host, gateway: Gateway) -> None:
    """All that was served, while somebody is there to keep it."""
    try:
        async with asyncio.timeout(REPORTED_S):
            await gateway.outbox.empty(host.bus)
    except TimeoutError:
        log.error("what was used at the end is in no book: the bus could not be reached")  # noqa: TRY400


async def _expect_guarded(host: Host, gateway: Gateway, listener: socket.socket) -> None:
    """Raises SettingError where strangers could come in of whom the operator does not know.

    A scheduler that starts beside this process may be about to tell what its file says.
    """
    guard = gateway.entrance.guard
    address = listener.getsockname()[0]
    guard.is_local = is_loopback(address)
    end = time.monotonic() + CONFIGURED_S
    while guard.is_ready and not (guard.is_guarded or guard.access == "open"):
        if time.monotonic() > end or host.stopping.is_set():
            raise SettingError(unguarded(address))
        await asyncio.sleep(LOOK_S)
        await gateway.entrance.read(host.bus)
    if guard.access == "open" and not guard.is_local:
        log.warning("open to strangers: the configuration lets others %s without a key",
                    " and ".join(scopes_of_others(gateway.entrance.ring.config)))  # fmt: skip


async def _present(host: Host, gateway: Gateway, url: str) -> None:
    def describe() -> GatewayBeat:
        return GatewayBeat(
            gateway=gateway.id,
            boot=host.boot,
            pid=os.getpid(),
            url=url,
            open_requests=len(gateway.open),
            used=gateway.entrance.limits.told(),
            asyncio_tasks=asyncio_tasks(),
        )

    try:
        await beat(host.bus, gateway.id, (GATEWAY_BEAT,), describe)
    finally:
        await farewell(host.bus, Gone(kind="gateway", id=gateway.id, boot=host.boot, why="stopped"))


def _url(settings: Settings, listening: socket.socket) -> str:
    everywhere = settings.host in ("", "0.0.0.0", "::")
    name = socket.gethostname() if everywhere else settings.host
    shown = f"[{name}]" if ":" in name else name
    scheme = "https" if settings.tls else "http"
    return f"{scheme}://{shown}:{listening.getsockname()[1]}"
