"""A long prompt is read beside running answers, and its client hears that it is."""

import asyncio
import time
from typing import Any

import httpx
import openai

from tests.mesh.asking import Reader, slow_prompt, text
from tests.mesh.house import Mesh

GAP_S = 1.0
"""Many times what a chunk of a prompt may cost; reading the whole prompt takes far longer."""


async def prefill_comments(mesh: Mesh, body: dict[str, Any], count: int) -> list[str]:
    """The first keep-alive comments of a stream, which is then left."""
    comments: list[str] = []
    async with (
        httpx.AsyncClient(base_url=mesh.url, timeout=30, trust_env=False) as client,
        client.stream("POST", "/v1/completions", json=body) as answer,
    ):
        async for line in answer.aiter_lines():
            if line:
                assert line.startswith(": prefill "), line
                comments.append(line)
            if len(comments) == count:
                return comments
    return comments


async def test_comments_say_how_far_a_prompt_is_read(mesh: Mesh) -> None:
    async with asyncio.timeout(20):
        comments = await prefill_comments(
            mesh, text(model="roomy", prompt=slow_prompt(29_001), stream=True), 4
        )

    done = [int(line.split()[-1].partition("/")[0]) for line in comments]
    assert done == sorted(set(done))
    assert all(line.endswith("/29001") for line in comments)


async def test_the_sdk_does_not_mind_the_comments(async_gpt: openai.AsyncOpenAI) -> None:
    stream = await async_gpt.completions.create(
        **text(model="roomy", prompt=slow_prompt(3000), max_tokens=2), stream=True
    )

    assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "length"


async def test_a_running_answer_flows_on_while_a_long_prompt_is_read(
    mesh: Mesh, async_gpt: openai.AsyncOpenAI
) -> None:
    running = Reader(async_gpt, model="roomy", max_tokens=20_000)
    await running.until_under_way()
    gaps: list[float] = []

    async def measure() -> None:
        seen, at = running.read.events, time.monotonic()
        while True:
            await asyncio.sleep(0.002)
            if running.read.events > seen:
                seen, now = running.read.events, time.monotonic()
                gaps.append(now - at)
                at = now

    watch = asyncio.create_task(measure())
    async with asyncio.timeout(20):
        await prefill_comments(
            mesh, text(model="roomy", prompt=slow_prompt(28_001), stream=True), 4
        )
    watch.cancel()

    assert not running.is_over
    assert len(gaps) > 8, "it went on"
    assert max(gaps) < GAP_S
    await running.leave()
