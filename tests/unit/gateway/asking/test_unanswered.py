"""A question that nobody answers, since a link or the bus was away, is asked again."""

import asyncio

import pytest

from services.gateway.asking import dispatch, wait
from tests.unit.gateway.scripted import MODEL

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def swallowing(scripted):
    """An engine whose answer to the first question never comes."""

    async def swallow():
        if len(scripted.asked) == 1:
            await asyncio.Event().wait()

    scripted.before_accepting = swallow
    return scripted


async def test_a_question_that_took_all_the_time_there_was_is_not_the_last(
    http, swallowing, monkeypatch
):
    monkeypatch.setattr(wait, "PATIENCE_S", 0.25)
    monkeypatch.setattr(dispatch, "accept_s", lambda prompt: 0.5)

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.status_code == 200, answer.text
    first, second = swallowing.asked
    assert (first.request, first.epoch) < (second.request, second.epoch)


async def test_an_engine_that_never_answers_is_told_of_in_the_end(http, scripted, monkeypatch):
    monkeypatch.setattr(wait, "PATIENCE_S", 0.1)
    monkeypatch.setattr(dispatch, "accept_s", lambda prompt: 0.2)
    scripted.before_accepting = asyncio.Event().wait

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.status_code == 502
    assert len(scripted.asked) == wait.UNANSWERED + 1


async def test_what_was_asked_before_a_reconnect_is_asked_again_at_once(http, host, swallowing):
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(http.post("/v1/chat/completions", json=CHAT))
        await swallowing.was_asked.wait()
        for hook in host.bus.on_reconnect:
            hook()

    assert asking.result().status_code == 200
    assert len(swallowing.asked) == 2
