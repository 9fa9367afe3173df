"""The scheduler's loop: hear who is there, answer who should serve."""

import asyncio
from contextlib import suppress

from bus.config import ConfigFollower
from bus.connection import Bus
from bus.errors import NotConnected
from bus.fleet import Fleet
from bus.lease import Lease, lead
from bus.router import Router
from bus.state import Bucket
from proto.choice import Weigh, Weighed
from proto.errors import Code, MeshError
from proto.overview import LookAround, Overview
from proto.placement import Schedule, Scheduled, Want
from proto.presence import HEARTBEAT_S, EngineBeat
from proto.refusing import listing, not_served
from proto.state import ENGINES, EngineRecord
from proto.subjects import LOOK_AROUND, SCHEDULE, WANT, WEIGH
from services.host import Host, present
from services.scheduler.configuration.file import ConfigFile
from services.scheduler.demand.absent import waits_for
from services.scheduler.known import Known
from services.scheduler.leading.copies import keep_copies
from services.scheduler.leading.leading import Reign
from services.scheduler.naming import known_model
from services.scheduler.overview import look_around
from services.scheduler.settings import Settings
from services.scheduler.weighing import weigh

LEASE = "scheduler"
"""What is led: placing, loading, jobs."""


async def serve(host: Host) -> None:
    """Answer until asked to stop. Every scheduler of the mesh gives the same answers."""
    settings = Settings.read(host.home)
    config = ConfigFollower()
    fleet = Fleet()
    await fleet.follow(host.bus)
    records = await Bucket.open(host.bus, ENGINES, EngineRecord)
    known = await Known.open(host.bus, fleet, config)
    scheduler = Scheduler(host.bus, fleet, known)
    lease = await Lease.open(host.bus, LEASE, host.id, host.boot)

    async def look(asked: LookAround) -> Overview:
        return look_around(asked, known.view(), lease.leader, lease.epoch)

    async def ponder(asked: Weigh) -> Weighed:
        return weigh(asked, known.view())

    async with asyncio.TaskGroup() as tasks:
        living = [
            tasks.create_task(records.watch(scheduler.hear_record)),
            tasks.create_task(config.run(host.bus)),
            tasks.create_task(ConfigFile(settings.config).follow(host.bus)),
            tasks.create_task(known.follow()),
            tasks.create_task(keep_copies(host.bus, lease)),
            tasks.create_task(present(host, lambda: lease.epoch if lease.is_held else 0)),
        ]
        await asyncio.sleep(HEARTBEAT_S)  # One round of heartbeats: before it, nobody is known.
        with suppress(NotConnected):
            await known.read()  # What is stored is known before somebody is told that it is not.
        await host.bus.answer(SCHEDULE, scheduler.schedule, group="scheduler")
        await host.bus.answer(LOOK_AROUND, look, group="scheduler")
        await host.bus.answer(WEIGH, ponder, group="scheduler")
        await host.bus.settled()
        living.append(
            tasks.create_task(lead(lease, lambda epoch: Reign(host, known, epoch).last()))
        )
        host.ready()
        await host.stopping.wait()
        await host.bus.quiet()  # What is asked from now on is another scheduler's.
        for task in living:
            task.cancel()


class Scheduler:
    """Knows the fleet; sends each request to the engine best placed to answer it."""

    def __init__(self, bus: Bus, fleet: Fleet, known: Known) -> None:
        self.fleet = fleet
        self._bus = bus
        self._known = known
        self._records: dict[str, EngineRecord] = {}
        self._router = Router(fleet)

    def hear_record(self, key: str, record: EngineRecord | None) -> None:
        if record is None:
            self._records.pop(key, None)
        else:
            self._records[key] = record

    async def schedule(self, question: Schedule) -> Scheduled:
        """Raises MeshError when no engine could serve the model now."""
        candidates = self._router.route(question)
        return Scheduled(candidates=candidates) if candidates else await self._wait(question)

    async def _wait(self, question: Schedule) -> Scheduled:
        """Tell the leader that somebody waits for a model, and the client what for."""
        view = self._known.view()
        model = known_model(view, question.model)
        if model is None:
            raise self._refusal(question.model)
        said = waits_for(model, view)
        want = Want(model=model, request=question.request, waited_s=question.waited_s)
        await self._bus.publish(WANT, want)
        return Scheduled(waits_for=said)

    def _refusal(self, model: str) -> MeshError:
        if self._may_come(model):
            return MeshError(
                Code.NO_ENGINE,
                f"No engine serves {model!r} now; it is loading or recovering. Try again.",
                retry_after_s=1.0,
            )
        provider = self.fleet.provider_of(model)
        if provider is not None:
            return not_served(provider, model)
        name, is_a_providers, _ = model.partition(":")
        if is_a_providers and name in (self._known.view().config.providers or {}):
            return MeshError(
                Code.NO_ENGINE,
                f"No cloud service serves the provider {name!r} now; it is starting, or none runs. "
                "Try again.",
                retry_after_s=1.0,
            )
        stored = {
            known.id for store in self._known.stores.records.values() for known in store.models
        }
        there = listing({card.id for card in self.fleet.models()} | stored)
        return MeshError(
            Code.MODEL_NOT_FOUND,
            f"The model {model!r} does not exist here. GET /v1/models lists what does, and with "
            f"?include_unloaded=true what is stored: {there}.",
            param="model",
        )

    def _may_come(self, model: str) -> bool:
        """True for a model that somebody held, or that a first, still nameless engine may hold."""
        engines = self.fleet.engines()
        if any(model in _names(engine) for engine in engines):
            return True
        if any(model in record.models for record in self._records.values()):
            return True
        return not self.fleet.models() and any(engine.state == "loading" for engine in engines)


def _names(engine: EngineBeat) -> set[str]:
    return {name for card in engine.models for name in (card.id, *card.aliases)}
