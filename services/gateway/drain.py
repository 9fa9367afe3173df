"""How a gateway ends: it accepts nobody, finishes what it has, and tells the rest why not."""

import asyncio

from proto.errors import Code, MeshError
from services.gateway.gateway import Gateway
from services.gateway.http.server import HttpServer
from services.host import Host

LINGER_S = 1.0
"""In which a client that keeps its connection hears with an answer that it is to connect anew."""


async def drain(
    host: Host, gateway: Gateway, server: HttpServer, serving: asyncio.Task[None]
) -> None:
    """Return when nothing is open any more."""
    gateway.is_leaving = True
    server.accept_no_more()
    parted = asyncio.create_task(server.part(LINGER_S))
    work = (parted, *gateway.background.tasks(), *gateway.once.tasks())
    await host.grace(work, gateway.settings.drain_s)
    parted.cancel()
    server.should_exit = True
    why = "This gateway is stopping. Ask again, or ask another one."
    for exchange in list(gateway.open):
        exchange.interrupt(MeshError(Code.NO_ENGINE, why, retry_after_s=1.0))
    await gateway.once.close()
    await gateway.background.close()
    await serving
