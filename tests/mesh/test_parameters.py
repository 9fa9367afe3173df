"""Every parameter changes what it should, and nothing else."""

import asyncio
from itertools import combinations
from typing import Any

import anthropic
import openai
import pytest

from tests.mesh.asking import TinyTokens, chat, message, read, text


@pytest.fixture
def tokens(tiny_model: Any) -> TinyTokens:
    return TinyTokens(tiny_model)


def said(client: openai.OpenAI, **asked: Any) -> str:
    return client.chat.completions.create(**chat(**asked)).choices[0].message.content or ""


def pieces_of(client: openai.OpenAI, **asked: Any) -> list[str]:
    """The texts of an answer's tokens."""
    answer = client.chat.completions.create(**chat(**asked, logprobs=True))
    logprobs = answer.choices[0].logprobs
    assert logprobs
    return [position.token for position in logprobs.content or ()]


def stops_of(client: openai.OpenAI) -> list[tuple[str, str]]:
    """Stop strings out of a greedy answer, each with the answer's text in front of it."""
    whole = said(client, max_tokens=60)
    pieces = pieces_of(client, max_tokens=60)
    found: list[tuple[str, str]] = []
    for first, second in combinations(range(4, 40), 2):
        stop = "".join(pieces[first:second])
        if second - first <= 4 and "\ufffd" not in stop and whole.count(stop) == 1:
            found.append((stop, whole[: whole.index(stop)]))
    assert len(found) > 5, "the greedy answer has clean stretches"
    return found


def test_a_stop_string_ends_the_answer_and_never_shows(gpt: openai.OpenAI) -> None:
    stops = stops_of(gpt)
    for stop, before in (stops[0], stops[len(stops) // 2], max(stops, key=lambda s: len(s[0]))):
        asked = chat(max_tokens=60, stop=stop)
        whole = gpt.chat.completions.create(**asked)
        chunks = gpt.chat.completions.create(**asked, stream=True)

        assert whole.choices[0].message.content == before
        assert whole.choices[0].finish_reason == "stop"
        assert read(chunks).text == before


def test_the_first_of_several_stop_strings_counts(gpt: openai.OpenAI) -> None:
    stops = sorted(stops_of(gpt), key=lambda stop: len(stop[1]))

    assert said(gpt, max_tokens=60, stop=[stops[-1][0], stops[0][0]]) == stops[0][1]


def test_what_only_looks_like_a_stop_is_not_withheld(gpt: openai.OpenAI) -> None:
    stop, _ = max(stops_of(gpt), key=lambda stop: len(stop[0]))

    assert said(gpt, max_tokens=60, stop=stop + "\u2603") == said(gpt, max_tokens=60)


def test_anthropic_s_clients_learn_which_stop_was_met(
    gpt: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    stop, before = stops_of(gpt)[3]

    answer = claude.messages.create(**message(max_tokens=60, stop_sequences=["\u2603", stop]))

    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
    assert [block.text for block in answer.content if block.type == "text"] == [before]


def test_a_seed_gives_the_same_answer_again(gpt: openai.OpenAI) -> None:
    asked = {"temperature": 1.2, "top_p": 0.95}
    first, again = (said(gpt, **asked, seed=11) for _ in range(2))

    assert first == again
    assert first != said(gpt, **asked, seed=12)


async def test_a_seed_gives_the_same_answer_in_a_batch(
    gpt: openai.OpenAI, async_gpt: openai.AsyncOpenAI
) -> None:
    asked = {"temperature": 1.0, "max_tokens": 40}
    alone = said(gpt, **asked, seed=5)

    async with asyncio.TaskGroup() as tasks:
        company = [
            tasks.create_task(
                async_gpt.chat.completions.create(**chat(**asked, seed=seed, content=f"{seed}?"))
            )
            for seed in range(20, 28)
        ]
        ours = tasks.create_task(async_gpt.chat.completions.create(**chat(**asked, seed=5)))

    assert ours.result().choices[0].message.content == alone
    assert len({each.result().choices[0].message.content for each in company}) == 8


def test_without_a_seed_answers_differ(gpt: openai.OpenAI) -> None:
    assert said(gpt, temperature=1.5) != said(gpt, temperature=1.5)


@pytest.mark.parametrize("cut", [{"top_p": 1e-6}, {"top_k": 1}, {"min_p": 1.0}], ids=str)
def test_a_cut_that_leaves_one_token_is_greedy(gpt: openai.OpenAI, cut: dict[str, Any]) -> None:
    ours = {name: value for name, value in cut.items() if name != "top_p"}
    plain = {name: value for name, value in cut.items() if name == "top_p"}

    assert said(gpt, temperature=1, **plain, extra_body=ours) == said(gpt)


def test_max_tokens_under_either_name_is_exact(gpt: openai.OpenAI) -> None:
    for asked in ({"max_tokens": 7}, {"max_completion_tokens": 7, "max_tokens": 90}):
        answer = gpt.chat.completions.create(**chat(**asked))

        assert answer.usage
        assert answer.usage.completion_tokens == 7
        assert answer.choices[0].finish_reason == "length"


def test_without_max_tokens_the_context_is_the_limit(gpt: openai.OpenAI) -> None:
    asked = text(prompt=[9] * 7600, max_tokens=None)
    answer = gpt.completions.create(**asked)

    assert answer.usage
    assert answer.usage.completion_tokens == 8192 - 7600 > 512
    assert answer.choices[0].finish_reason == "length"


def test_a_bias_forbids_and_commands(gpt: openai.OpenAI, tokens: TinyTokens) -> None:
    first = pieces_of(gpt, max_tokens=1)[0]
    plain = gpt.chat.completions.create(**chat(max_tokens=1, logprobs=True, top_logprobs=1))
    assert plain.choices[0].logprobs

    assert said(gpt, max_tokens=5, logit_bias={str(tokens.id("Q")): 100}) == "QQQQQ"
    assert set(said(gpt, logit_bias=tokens.digits_only())) <= set("0123456789")
    if "\ufffd" not in first:
        banned = {str(tokens.of(first)[0]): -100}
        assert pieces_of(gpt, max_tokens=1, logit_bias=banned)[0] != first


@pytest.mark.parametrize(
    "penalty",
    [{"frequency_penalty": 2.0}, {"presence_penalty": 2.0}, {"repetition_penalty": 9.0}],
    ids=lambda penalty: next(iter(penalty)),
)
def test_a_penalty_makes_answers_more_varied(
    gpt: openai.OpenAI, tokens: TinyTokens, penalty: dict[str, float]
) -> None:
    asked: dict[str, Any] = {"max_tokens": 40, "logit_bias": tokens.digits_only()}
    ours = {k: v for k, v in penalty.items() if k == "repetition_penalty"}
    plain = {k: v for k, v in penalty.items() if k != "repetition_penalty"}

    without = pieces_of(gpt, **asked)
    with_it = pieces_of(gpt, **asked, **plain, extra_body=ours)

    assert with_it != without
    assert len(set(with_it)) >= len(set(without))


def test_a_frequency_penalty_grows_with_every_use(gpt: openai.OpenAI, tokens: TinyTokens) -> None:
    two = {str(tokens.id("Q")): 100, str(tokens.id("Z")): 98}

    plain = said(gpt, max_tokens=60, logit_bias=two)
    penalised = said(gpt, max_tokens=60, logit_bias=two, frequency_penalty=2)

    assert set(penalised) == {"Q", "Z"}
    assert abs(penalised.count("Q") - penalised.count("Z")) < abs(
        plain.count("Q") - plain.count("Z")
    )
