"""Many at once: everybody gets what they would get alone."""

import asyncio

import openai

from tests.mesh.asking import Reader, greedy_text

STREAMS = 32


async def test_32_streams_each_say_what_they_say_alone(async_gpt: openai.AsyncOpenAI) -> None:
    questions = [
        {"content": f"Question {i}: " + "why " * (i % 9), "max_tokens": 20 + 3 * i}
        for i in range(STREAMS)
    ]
    readers: list[Reader] = []
    for question in questions:
        # Each arrives while those before it are being answered.
        readers.append(Reader(async_gpt, **question))
        await readers[-1].until_under_way()
    together = [(await reader.whole()).text for reader in readers]

    alone = [await greedy_text(async_gpt, **question) for question in questions]

    assert together == alone
    assert len(set(alone)) == STREAMS


async def test_32_that_arrive_in_one_moment_do_not_mix(async_gpt: openai.AsyncOpenAI) -> None:
    questions = [{"content": f"{i} of a crowd", "max_tokens": 40} for i in range(STREAMS)]
    readers = [Reader(async_gpt, **question) for question in questions]
    together = [(await reader.whole()).text for reader in readers]

    assert together == [await greedy_text(async_gpt, **question) for question in questions]


async def test_equal_questions_get_equal_answers(async_gpt: openai.AsyncOpenAI) -> None:
    answers = await asyncio.gather(
        *(greedy_text(async_gpt, content="All the same?", max_tokens=40) for _ in range(8))
    )

    assert len(set(answers)) == 1
