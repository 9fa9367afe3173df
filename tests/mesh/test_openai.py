"""OpenAI's own SDK against a mesh: shapes, numbers, streams."""

from typing import Any

import httpx
import openai
import pytest
from openai.types import Model

from tests.mesh.asking import QUESTION, chat, read, text
from tests.mesh.house import until


def test_a_chat_is_answered_in_the_exact_shape(gpt: openai.OpenAI) -> None:
    answer = gpt.chat.completions.create(**chat(max_tokens=8))

    choice, usage = answer.choices[0], answer.usage
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "tiny"
    assert answer.system_fingerprint
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "length", "assistant")
    assert choice.message.content
    assert choice.message.refusal is None
    assert choice.logprobs is None
    assert usage
    assert usage.completion_tokens == 8
    assert usage.total_tokens == usage.prompt_tokens + 8


def test_no_answer_has_a_field_the_sdk_does_not_know(gpt: openai.OpenAI) -> None:
    answer = gpt.chat.completions.create(**chat(max_tokens=3, logprobs=True, top_logprobs=2))
    chunks = gpt.chat.completions.create(
        **chat(max_tokens=3, logprobs=True), stream=True, stream_options={"include_usage": True}
    )
    completion = gpt.completions.create(**text(max_tokens=3, logprobs=2))

    for each in (answer, *chunks, completion):
        assert not _strangers(each)


def _strangers(model: Any) -> list[str]:
    found = list(getattr(model, "model_extra", None) or ())
    for value in vars(model).values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, openai.BaseModel):
                found += _strangers(item)
    return found


def test_a_stream_begins_with_the_role_and_ends_with_the_reason(gpt: openai.OpenAI) -> None:
    chunks = list(gpt.chat.completions.create(**chat(max_tokens=8), stream=True))

    first, *middle, last = [chunk.choices[0] for chunk in chunks]
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert all(each.delta.role is None and each.delta.content for each in middle)
    assert all(each.finish_reason is None for each in [first, *middle])
    assert (last.finish_reason, last.delta.content) == ("length", None)
    assert len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1
    assert chunks[0].object == "chat.completion.chunk"
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_says_what_a_whole_answer_says(gpt: openai.OpenAI) -> None:
    whole = gpt.chat.completions.create(**chat())
    again = gpt.chat.completions.create(**chat())
    *chunks, last = gpt.chat.completions.create(
        **chat(), stream=True, stream_options={"include_usage": True}
    )

    streamed = read(chunks)
    assert streamed.text == whole.choices[0].message.content
    assert streamed.finish == whole.choices[0].finish_reason
    assert last.choices == []
    assert last.usage == again.usage


def test_the_bytes_of_a_stream_are_server_sent_events(http: httpx.Client) -> None:
    body = chat(max_tokens=4, stream=True, stream_options={"include_usage": True})
    answer = http.post("/v1/chat/completions", json=body)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    events = [event for event in answer.text.split("\n\n") if event]
    assert all(event.startswith(("data: {", ": ", "data: [DONE]")) for event in events)
    assert events[-1] == "data: [DONE]"
    data = [event for event in events if event.startswith("data: {")]
    assert all('"usage":null' in event for event in data[:-1])


async def test_the_async_client_reads_the_same(
    gpt: openai.OpenAI, async_gpt: openai.AsyncOpenAI
) -> None:
    whole = await async_gpt.chat.completions.create(**chat())
    stream = await async_gpt.chat.completions.create(**chat(), stream=True)
    streamed = read([chunk async for chunk in stream])

    expected = gpt.chat.completions.create(**chat()).choices[0].message.content
    assert whole.choices[0].message.content == streamed.text == expected


def test_the_sdk_s_own_stream_helper_gathers_the_answer(gpt: openai.OpenAI) -> None:
    with gpt.chat.completions.stream(**chat()) as stream:
        for _ in stream:
            pass
        answer = stream.current_completion_snapshot

    whole = gpt.chat.completions.create(**chat())
    assert answer.choices[0].message.content == whole.choices[0].message.content


def test_several_choices_are_told_apart(gpt: openai.OpenAI) -> None:
    asked = chat(n=3, temperature=1, seed=7)
    whole = gpt.chat.completions.create(**asked)
    chunks = list(gpt.chat.completions.create(**asked, stream=True))

    texts = {choice.index: choice.message.content for choice in whole.choices}
    streamed = dict.fromkeys(texts, "")
    for chunk in chunks:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert sorted(texts) == [0, 1, 2]
    assert len(set(texts.values())) == 3
    assert streamed == texts
    ends = [c.index for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert sorted(ends) == [0, 1, 2]


def test_a_prompt_of_several_choices_counts_once(gpt: openai.OpenAI) -> None:
    one = gpt.chat.completions.create(**chat(max_tokens=5)).usage
    two = gpt.chat.completions.create(**chat(max_tokens=5, n=2)).usage

    assert one
    assert two
    assert (two.prompt_tokens, two.completion_tokens) == (one.prompt_tokens, 10)


def test_logprobs_name_the_chosen_token_and_its_rivals(gpt: openai.OpenAI) -> None:
    answer = gpt.chat.completions.create(**chat(max_tokens=6, logprobs=True, top_logprobs=3))

    choice = answer.choices[0]
    assert choice.logprobs
    positions = choice.logprobs.content
    assert positions
    assert len(positions) == 6
    said = b"".join(bytes(position.bytes or ()) for position in positions)
    assert said.decode(errors="replace") == choice.message.content
    for position in positions:
        likely = [rival.logprob for rival in position.top_logprobs]
        assert len(likely) == 3
        assert likely == sorted(likely, reverse=True)
        assert position.logprob == pytest.approx(likely[0])  # Greedy takes the likeliest.
        assert position.logprob <= 0


def test_logprobs_of_a_stream_are_those_of_the_whole(gpt: openai.OpenAI) -> None:
    asked = chat(max_tokens=6, logprobs=True, top_logprobs=2)
    whole = gpt.chat.completions.create(**asked).choices[0].logprobs
    chunks = gpt.chat.completions.create(**asked, stream=True)

    streamed = [
        position
        for chunk in chunks
        for choice in chunk.choices
        if choice.logprobs
        for position in choice.logprobs.content or ()
    ]
    assert whole
    assert [p.bytes for p in streamed] == [p.bytes for p in whole.content or ()]
    assert [p.logprob for p in streamed] == pytest.approx(
        [p.logprob for p in whole.content or ()], abs=1e-3
    )


def test_a_completion_is_answered_in_the_exact_shape(gpt: openai.OpenAI) -> None:
    answer = gpt.completions.create(**text(max_tokens=5, logprobs=2))

    choice = answer.choices[0]
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert (choice.index, choice.finish_reason) == (0, "length")
    assert choice.logprobs
    assert choice.logprobs.tokens
    assert choice.logprobs.top_logprobs
    assert len(choice.logprobs.tokens) == len(choice.logprobs.text_offset or ()) == 5
    assert answer.usage
    assert answer.usage.completion_tokens == 5


def test_a_completion_streams_what_it_says(gpt: openai.OpenAI) -> None:
    whole = gpt.completions.create(**text())
    *chunks, last = gpt.completions.create(
        **text(), stream=True, stream_options={"include_usage": True}
    )

    streamed = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert streamed == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"
    assert last.usage
    assert whole.usage
    assert last.usage.completion_tokens == whole.usage.completion_tokens


def test_a_completion_can_begin_with_its_prompt(gpt: openai.OpenAI) -> None:
    said = gpt.completions.create(**text()).choices[0].text
    whole = gpt.completions.create(**text(echo=True))
    chunks = gpt.completions.create(**text(echo=True), stream=True)
    bare = gpt.completions.create(**text(echo=True, max_tokens=0))

    assert whole.choices[0].text == QUESTION + said
    assert "".join(chunk.choices[0].text for chunk in chunks) == QUESTION + said
    assert (bare.choices[0].text, bare.choices[0].finish_reason) == (QUESTION, "length")
    assert bare.usage
    assert bare.usage.completion_tokens == 0


def test_no_tokens_at_all_can_be_asked_for(gpt: openai.OpenAI) -> None:
    whole = gpt.chat.completions.create(**chat(max_tokens=0))
    streamed = read(gpt.chat.completions.create(**chat(max_tokens=0), stream=True))

    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("", "length")
    assert (streamed.text, streamed.finish) == ("", "length")


def test_many_prompts_are_answered_in_their_order(gpt: openai.OpenAI) -> None:
    prompts = ["one fish", "two fish", "red fish"]
    alone = [gpt.completions.create(**text(prompt=p)).choices[0].text for p in prompts]

    together = gpt.completions.create(**text(prompt=prompts))

    assert [choice.index for choice in together.choices] == [0, 1, 2]
    assert [choice.text for choice in together.choices] == alone


def test_a_prompt_of_tokens_is_taken_as_it_is(gpt: openai.OpenAI, http: httpx.Client) -> None:
    tokens = [10, 50, 90, 130]

    answer = gpt.completions.create(**text(prompt=tokens, max_tokens=4))
    lists = gpt.completions.create(**text(prompt=[tokens, tokens[:2]], max_tokens=4))

    assert answer.usage
    assert answer.usage.prompt_tokens == 4
    assert lists.usage
    assert lists.usage.prompt_tokens == 6
    assert lists.choices[0].text == answer.choices[0].text


def test_models_are_listed_and_shown(gpt: openai.OpenAI) -> None:
    def listed() -> dict[str, Model]:
        return {model.id: model for model in gpt.models.list()}

    assert list(listed()) == ["roomy", "tiny"]
    # How fast it is may have been told anew in between.
    until(lambda: gpt.models.retrieve("tiny") == listed()["tiny"], what="the same, told twice")
    shown = gpt.models.retrieve("tiny")
    assert shown.object == "model"
    assert shown.created > 1_500_000_000
    with pytest.raises(openai.NotFoundError, match="absent"):
        gpt.models.retrieve("absent")


def test_every_answer_carries_a_request_id(gpt: openai.OpenAI) -> None:
    first = gpt.chat.completions.create(**chat(max_tokens=1))
    second = gpt.chat.completions.create(**chat(max_tokens=1))

    assert first._request_id
    assert first._request_id != second._request_id
    assert first.id == f"chatcmpl-{first._request_id}"
