"""Responses that are generated whether anybody waits or not."""

import asyncio

import openai as openai_sdk
import pytest

from proto.errors import Code, MeshError
from proto.frames import Delta, End, Progress, Timings, Usage
from services.gateway.stored import background, peers
from services.gateway.stored.store import Store
from tests.unit.gateway.scripted import MODEL, full, scheduler


@pytest.fixture
def until(strict):
    async def until(id, *states, client=None):
        async with asyncio.timeout(10):
            while True:
                response = await (client or strict).responses.retrieve(id)
                if response.status in states:
                    return response
                await asyncio.sleep(0.02)

    return until


@pytest.fixture
def slow(scripted):
    """Says one word, and the rest when it is told to go on."""
    go_on = asyncio.Event()

    async def script(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 4), Delta(asked.epoch, 1, "Hel", (1,)))
        await go_on.wait()
        engine.send(
            asked,
            Delta(asked.epoch, 2, "lo", (2,)),
            End(asked.epoch, 3, "stop", Usage(10, 2, 4), Timings(0, 0, 0)),
        )

    scripted.script = script
    return go_on


async def test_it_is_queued_at_once_and_completed_later(ask, until):
    queued = await ask(background=True)
    completed = await until(queued.id, "completed")

    assert (queued.status, queued.background, queued.output) == ("queued", True, [])
    assert completed.output_text == "Hello world"
    assert completed.usage.total_tokens == 12


async def test_it_goes_on_after_its_client_left_and_is_read_from_where_it_stopped(
    ask, strict, slow, until
):
    stream = await ask(background=True, stream=True)
    first = []
    async for event in stream:
        first.append(event)
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    reader = await strict.responses.retrieve(
        first[0].response.id, stream=True, starting_after=first[-1].sequence_number
    )
    slow.set()
    rest = [event async for event in reader]

    numbers = [event.sequence_number for event in (*first, *rest)]
    assert numbers == list(range(len(numbers)))
    assert [event.type for event in first][:3] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.output_text == "Hello"
    assert (await until(first[0].response.id, "completed")).output_text == "Hello"


async def test_any_gateway_tells_it_while_it_is_generated(ask, slow, neighbour):
    async with neighbour() as client:
        response = await ask(background=True)
        streamed = await ask(background=True, stream=True)
        id = (await anext(aiter(streamed))).response.id
        readers = [await client.responses.retrieve(each, stream=True) for each in (id, response.id)]
        slow.set()
        live, whole = [[event async for event in reader] for reader in readers]

    assert [e.delta for e in live if e.type == "response.output_text.delta"] == ["Hel", "lo"]
    assert [e.delta for e in whole if e.type == "response.output_text.delta"] == ["Hello"]
    await streamed.close()


async def test_any_gateway_cancels_it(ask, slow, scripted, neighbour, strict):
    async with neighbour() as client:
        stream = aiter(await ask(background=True, stream=True))
        id = (await anext(stream)).response.id
        while (await anext(stream)).type != "response.output_text.delta":
            pass
        cancelled = await client.responses.cancel(id)
        rest = [event async for event in stream]

    assert (cancelled.status, cancelled.output_text) == ("cancelled", "Hel")
    assert rest[-1].response.status == "cancelled"
    assert await asyncio.wait_for(scripted.cancelled.get(), 5) == scripted.asked[0].request
    assert (await strict.responses.cancel(id)).status == "cancelled"


async def test_a_deleted_one_is_stopped(ask, slow, scripted, strict, until):
    response = await ask(background=True)
    await until(response.id, "in_progress")
    await strict.responses.delete(response.id)

    assert await asyncio.wait_for(scripted.cancelled.get(), 5) == scripted.asked[0].request
    with pytest.raises(openai_sdk.NotFoundError):
        await strict.responses.retrieve(response.id)


async def test_it_waits_where_every_engine_is_full(ask, scripted, until):
    scripted.refusal = full()
    response = await ask(background=True)
    await scripted.was_asked.wait()
    scripted.refusal = None

    assert (await until(response.id, "completed", "failed")).status == "completed"
    assert len(scripted.asked) == 2


async def test_its_refusal_is_its_failure(ask, until, nats_url):
    async with scheduler(nats_url) as refusing:
        refusing.refusal = MeshError(Code.MODEL_NOT_FOUND, "There is no model 'nobody'.")
        response = await ask(background=True, model="nobody")
        failed = await until(response.id, "failed")

    assert failed.error.code == "invalid_prompt"
    assert "nobody" in failed.error.message


async def test_it_cannot_be_gone_on_from_while_it_is_generated(ask, slow, until):
    response = await ask(background=True)
    with pytest.raises(openai_sdk.BadRequestError, match="still being generated"):
        await ask(previous_response_id=response.id)
    slow.set()
    await until(response.id, "completed")

    assert (await ask(previous_response_id=response.id)).status == "completed"


async def test_it_must_be_stored(ask):
    with pytest.raises(openai_sdk.BadRequestError, match="store"):
        await ask(background=True, store=False)


async def test_a_gateway_that_stops_fails_what_it_generates(ask, slow, neighbour, until):
    async with neighbour() as client:
        response = await client.responses.create(model=MODEL, input="Hi", background=True)
        await until(response.id, "in_progress")
    failed = await until(response.id, "failed")

    assert failed.error.code == "server_error"
    assert "stopped" in failed.error.message


async def test_what_a_dead_gateway_generated_has_failed(ask, slow, strict, neighbour, monkeypatch):
    async def stay(self):
        """Dies without a word."""

    monkeypatch.setattr(background.Background, "close", stay)
    monkeypatch.setattr(peers, "SILENCE_S", 0.5)
    async with neighbour() as client:
        stream = await client.responses.create(
            model=MODEL, input="Hi", background=True, stream=True
        )
        id = (await anext(aiter(stream))).response.id
        reader = await strict.responses.retrieve(id, stream=True)
        await stream.close()
        monkeypatch.setattr(Store, "write", _lost(Store.write))
    events = [event async for event in reader]

    assert events[-1].type == "response.failed"
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert (await strict.responses.retrieve(id)).status == "failed"


def _lost(write):
    async def lost(self, stored, revision=0):
        if stored.response.error and "lost" in stored.response.error.message:
            return await write(self, stored, revision)
        raise background.MeshError(background.Code.BUS_UNAVAILABLE, "dead")

    return lost


async def test_there_is_a_most_of_them(ask, slow, monkeypatch):
    monkeypatch.setattr(background, "MOST", 1)
    await ask(background=True)

    with pytest.raises(openai_sdk.RateLimitError):
        await ask(background=True)


async def test_it_is_told_to_operators_when_it_is_over(ask, slow, events, until):
    response = await ask(background=True)
    await until(response.id, "in_progress")
    assert events.empty()
    slow.set()
    told = await asyncio.wait_for(events.get(), 5)

    assert (told.request, told.status, told.completion_tokens) == (response.id[5:], "ok", 2)
