"""The cloud service's loop: each upstream is an engine like any other on the bus.

Which there are is followed: what the environment declares, the configuration, and the keys that the
mesh keeps.
"""

import asyncio
import os

from bus.config import ConfigFollower
from proto.provider import CheckProvider, LookAtProviders, ProviderChecked, ProvidersSeen
from proto.subjects import CHECK_PROVIDER, LOOK_AT_PROVIDERS, RECOGNISE
from services.cloud.engines.recognising import recognise
from services.cloud.providers.check import check, unknown
from services.cloud.providers.kept import KeptKeys
from services.cloud.providers.memory import CatalogMemory
from services.cloud.providers.upstreams import configured, upstreams
from services.cloud.providers.view import seen
from services.cloud.settings import providers
from services.cloud.standing import Standing
from services.host import Host, present


async def serve(host: Host) -> None:
    declared = providers()
    news = asyncio.Event()
    config = ConfigFollower(lambda _: news.set())
    kept = await KeptKeys.find(host.bus, news.set)
    memory = await CatalogMemory.read(host.bus)
    await config.read(host.bus)
    await kept.open(host.home, host.credential)

    async with asyncio.TaskGroup() as tasks:
        standing = Standing(host, tasks, memory)

        turn = asyncio.Lock()

        async def settle() -> None:
            # Before it is known, it may hide what the environment declares.
            async with turn:
                if config.is_known:
                    wanted = configured(declared, config.layers)
                    await standing.settle(upstreams(wanted, kept.by_provider, os.environ))

        async def follow() -> None:
            while True:
                await news.wait()
                news.clear()
                await settle()

        async def catch_up() -> None:
            """Whoever asks may have changed something a moment ago. Raises MeshError."""
            await config.read(host.bus)
            await kept.read()
            await settle()

        async def look(_: LookAtProviders) -> ProvidersSeen:
            await catch_up()
            wanted = configured(declared, config.layers)
            views = [
                seen(name, entry, standing.beat_of(name), kept.views(name))
                for name, entry in sorted(wanted.items())
            ]
            return ProvidersSeen(providers=tuple(views))

        async def examine(asked: CheckProvider) -> ProviderChecked:
            await catch_up()
            stand = standing.stands.get(asked.provider)
            if stand is None:
                raise unknown(asked.provider)
            return ProviderChecked(check=await check(stand.upstream))

        living = [
            tasks.create_task(present(host)),
            tasks.create_task(config.run(host.bus)),
            tasks.create_task(kept.run(host.home, host.credential)),
            tasks.create_task(memory.write()),
        ]
        await host.bus.answer(LOOK_AT_PROVIDERS, look, group="cloud")
        await host.bus.answer(CHECK_PROVIDER, examine, group="cloud")
        await settle()
        await host.unless_stopped(standing.known())
        living.append(tasks.create_task(follow()))
        await host.bus.answer(RECOGNISE, recognise, group="cloud")
        host.ready()
        await host.stopping.wait()
        await standing.ended()
        for task in living:
            task.cancel()
