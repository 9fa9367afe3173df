"""What every question and answer on the bus keeps."""

import asyncio

import pytest

from bus import tracing
from bus.connection import Bus
from bus.errors import NoAnswer, NobodyThere, TooLarge
from proto.errors import Code, MeshError
from proto.ids import fresh
from proto.placement import Schedule, Scheduled
from proto.presence import ServiceBeat
from proto.prompt import Text
from proto.subjects import COUNT_TOKENS, SCHEDULE, SERVICE_BEAT
from proto.tokenization import Counted, CountTokens

QUESTION = CountTokens(model="m", prompt=Text(text="hello"))


async def test_an_answer_comes_back_typed(bus: Bus) -> None:
    engine = f"n.{fresh()}"

    async def count(question: CountTokens) -> Counted:
        return Counted(tokens=len(question.prompt.text))

    await bus.answer(COUNT_TOKENS, count, engine)
    await bus.settled()

    assert await bus.ask(COUNT_TOKENS, QUESTION, engine) == Counted(tokens=5)


async def test_a_refusal_arrives_as_the_error_that_was_raised(bus: Bus) -> None:
    engine = f"n.{fresh()}"

    async def refuse(_: CountTokens) -> Counted:
        raise MeshError(Code.QUEUE_FULL, "busy", param="model", retry_after_s=2.5)

    await bus.answer(COUNT_TOKENS, refuse, engine)
    await bus.settled()

    with pytest.raises(MeshError) as caught:
        await bus.ask(COUNT_TOKENS, QUESTION, engine)
    error = caught.value
    assert (error.code, error.message, error.param) == (Code.QUEUE_FULL, "busy", "model")
    assert error.retry_after_s == 2.5


async def test_a_failure_of_the_answerer_is_an_internal_error_without_its_text(bus: Bus) -> None:
    engine = f"n.{fresh()}"

    async def fail(_: CountTokens) -> Counted:
        raise ValueError("secret prompt text")

    await bus.answer(COUNT_TOKENS, fail, engine)
    await bus.settled()

    with pytest.raises(MeshError) as caught:
        await bus.ask(COUNT_TOKENS, QUESTION, engine)
    assert caught.value.code is Code.INTERNAL
    assert "secret" not in caught.value.message


async def test_nobody_there_is_known_at_once(bus: Bus) -> None:
    with pytest.raises(NobodyThere):
        async with asyncio.timeout(1):
            await bus.ask(COUNT_TOKENS, QUESTION, f"n.{fresh()}")


async def test_a_question_past_its_deadline_is_not_answered(bus: Bus) -> None:
    engine, asked = f"n.{fresh()}", asyncio.Event()

    async def never(_: CountTokens) -> Counted:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    await bus.answer(COUNT_TOKENS, never, engine)
    await bus.settled()

    with pytest.raises(NoAnswer):
        await bus.ask(COUNT_TOKENS, QUESTION, engine, timeout_s=0.05)
    assert asked.is_set()


async def test_a_message_beyond_what_the_bus_carries_is_refused_here(bus: Bus) -> None:
    huge = CountTokens(model="m", prompt=Text(text="x" * 9_000_000))

    with pytest.raises(TooLarge):
        await bus.ask(COUNT_TOKENS, huge, f"n.{fresh()}")


async def test_each_question_to_a_group_is_answered_by_one_member(bus: Bus) -> None:
    answered: list[int] = []

    async def member(_: Schedule) -> Scheduled:
        answered.append(1)
        return Scheduled(candidates=())

    for _ in range(3):
        await bus.answer(SCHEDULE, member, group="scheduler")
    await bus.settled()

    for _ in range(5):
        await bus.ask(SCHEDULE, Schedule(model="m"))
    await bus.settled()

    assert len(answered) == 5


async def test_malformed_mail_is_dropped_and_the_rest_arrives(bus: Bus) -> None:
    heard: asyncio.Queue[ServiceBeat] = asyncio.Queue()
    await bus.listen(SERVICE_BEAT, heard.put_nowait)
    await bus.settled()
    beat = ServiceBeat(service="test", id="a", boot="b", pid=1)

    await bus._client.publish(SERVICE_BEAT.at("test.a"), b"\xc1 not msgpack")
    await bus.publish(SERVICE_BEAT, beat, "test.a")

    assert await asyncio.wait_for(heard.get(), 2) == beat
    assert bus.unread.messages == 1


async def test_the_trace_of_the_asker_reaches_the_answerer(bus: Bus) -> None:
    engine = f"n.{fresh()}"
    seen: list[str] = []

    async def count(_: CountTokens) -> Counted:
        context = tracing.current.get()
        assert context is not None
        seen.append(context.trace)
        return Counted(tokens=0)

    await bus.answer(COUNT_TOKENS, count, engine)
    await bus.settled()
    mine = tracing.begin("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    await bus.ask(COUNT_TOKENS, QUESTION, engine)

    assert seen == [mine.trace] == ["4bf92f3577b34da6a3ce929d0e0e4736"]


async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(bus: Bus) -> None:
    """wait_for of Python 3.11 would swallow it."""
    engine = f"n.{fresh()}"

    async def count(_: CountTokens) -> Counted:
        return Counted(tokens=0)

    await bus.answer(COUNT_TOKENS, count, engine)
    await bus.settled()
    asking = asyncio.create_task(bus.ask(COUNT_TOKENS, QUESTION, engine))
    async with asyncio.timeout(5):
        while not bus._client._resp_map:
            await asyncio.sleep(0)
    (reply,) = bus._client._resp_map.values()
    reply.add_done_callback(lambda _: asking.cancel())

    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_who_stopped_answering_is_asked_no_more(bus: Bus) -> None:
    engine = f"n.{fresh()}"

    async def count(_: CountTokens) -> Counted:
        return Counted(tokens=0)

    hearing = await bus.answer(COUNT_TOKENS, count, engine)
    await bus.ask(COUNT_TOKENS, QUESTION, engine)
    await hearing.stop()

    with pytest.raises(NobodyThere):
        await bus.ask(COUNT_TOKENS, QUESTION, engine)


async def test_who_goes_quiet_answers_what_it_heard_and_hears_no_more(
    bus: Bus, nats_url: str
) -> None:
    engine, heard, may_answer = f"n.{fresh()}", asyncio.Event(), asyncio.Event()

    async def count(_: CountTokens) -> Counted:
        heard.set()
        await may_answer.wait()
        return Counted(tokens=1)

    async with Bus.connect(nats_url, "test:leaving") as leaving:
        await leaving.answer(COUNT_TOKENS, count, engine)
        await leaving.settled()
        asking = asyncio.create_task(bus.ask(COUNT_TOKENS, QUESTION, engine))
        await heard.wait()
        going = asyncio.create_task(leaving.quiet())
        may_answer.set()
        await going

        assert await asking == Counted(tokens=1)
        with pytest.raises(NobodyThere):
            await bus.ask(COUNT_TOKENS, QUESTION, engine)
