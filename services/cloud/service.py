"""The cloud service's loop: each upstream is an engine like any other on the bus."""

import asyncio

from bus.config import ConfigFollower
from proto.subjects import CHECK_PROVIDER, LOOK_AT_PROVIDERS, RECOGNISE
from services.cloud.engines.recognising import recognise
from services.cloud.following import Following
from services.cloud.providers.kept import KeptKeys
from services.cloud.providers.memory import CatalogMemory
from services.cloud.settings import providers
from services.cloud.standing import Standing
from services.host import Host, present


async def serve(host: Host) -> None:
    bus, declared, news = host.bus, providers(), asyncio.Event()
    config = ConfigFollower(lambda _: news.set())
    kept = await KeptKeys.find(bus, news.set)
    memory = await CatalogMemory.read(bus)
    await config.read(bus)
    await kept.open(host.home, host.credential)

    async with asyncio.TaskGroup() as tasks:
        standing = Standing(host, tasks, memory)
        following = Following(bus, declared, config, kept, standing)
        living = [
            tasks.create_task(present(host)),
            tasks.create_task(config.run(bus)),
            tasks.create_task(kept.run(host.home, host.credential)),
            tasks.create_task(memory.write()),
        ]
        await bus.answer(LOOK_AT_PROVIDERS, following.look, group="cloud")
        await bus.answer(CHECK_PROVIDER, following.examine, group="cloud")
        await following.settle()
        await host.unless_stopped(standing.known())
        living.append(tasks.create_task(following.follow(news)))
        await bus.answer(RECOGNISE, recognise, group="cloud")
        host.ready()
        await host.stopping.wait()
        await standing.ended()
        for task in living:
            task.cancel()
