"""What nats-py makes of a cancellation on Python 3.11 changes nothing."""

import asyncio

import pytest

from bus.connection import uncaught


async def answering() -> str:
    return await swallowed("an answer")


async def failing() -> str:
    await swallowed("")
    raise KeyError("there is no such record")


async def swallowed(reply: str) -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return reply
    return ""


@pytest.mark.parametrize("reply", [answering, failing])
async def test_a_cancellation_that_comes_with_a_reply_counts(reply) -> None:
    task = asyncio.create_task(uncaught(reply()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_errors_without_a_cancellation_are_told() -> None:
    async def missing() -> str:
        raise KeyError("there is no such record")

    with pytest.raises(KeyError):
        await uncaught(missing())
