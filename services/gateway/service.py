"""One gateway process: what it holds, how it starts, how it ends."""

import asyncio
import gc
import logging
import os
import socket

from bus import blobs
from bus.fleet import Fleet
from bus.gateways import answer_probes
from bus.presence import asyncio_tasks, beat, farewell
from bus.stream import TokenSource
from proto.ids import GatewayId
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
from services.gateway.http.server import HttpServer
from services.gateway.http.tls import Tls
from services.gateway.settings import Settings
from services.host import Host

log = logging.getLogger(__name__)

ROUND_S = HEARTBEAT_S + 0.25
"""In which everybody who lives is heard."""


async def serve(host: Host) -> None:
    """Serve until asked to stop, then let open requests finish for a while."""
    settings = Settings.read()
    tls = Tls(settings.tls) if settings.tls else None
    listening = listener(settings.host, settings.port)
    url = _url(settings, listening)
    fleet = Fleet()
    await fleet.follow(host.bus)
    async with TokenSource.connect(host.bus, GatewayId(host.id)) as source:
        mesh = Mesh(host.bus, source, fleet, settings.load_wait_s)
        watch = Watch(mesh)
        await watch.follow()
        gateway = Gateway(GatewayId(host.id), host.boot, settings, mesh, watch)
        await gateway.background.follow()
        await host.bus.listen(GATEWAY_BEAT, gateway.limits.hear)
        await blobs.give_out(host.bus, gateway.id, gateway.images.store.find)
        await answer_probes(host.bus, gateway.id, host.boot)
        await host.bus.settled()
        await gateway.config.read(host.bus)
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
                tasks.create_task(gateway.config.run(host.bus)),
                tasks.create_task(gateway.shelf.run(host.bus)),
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
        await gateway.images.close()
        await host.bus.settled()


async def _present(host: Host, gateway: Gateway, url: str) -> None:
    def describe() -> GatewayBeat:
        return GatewayBeat(
            gateway=gateway.id,
            boot=host.boot,
            pid=os.getpid(),
            url=url,
            open_requests=len(gateway.open),
            used=gateway.limits.told(),
            asyncio_tasks=asyncio_tasks(),
        )

    try:
        await beat(host.bus, host.id, (GATEWAY_BEAT,), describe)
    finally:
        await farewell(host.bus, Gone(kind="gateway", id=host.id, boot=host.boot, why="stopped"))


def _url(settings: Settings, listening: socket.socket) -> str:
    everywhere = settings.host in ("", "0.0.0.0", "::")
    name = socket.gethostname() if everywhere else settings.host
    shown = f"[{name}]" if ":" in name else name
    scheme = "https" if settings.tls else "http"
    return f"{scheme}://{shown}:{listening.getsockname()[1]}"
