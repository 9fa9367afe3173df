"""With a draft, every answer is what it is without."""

import itertools
import random

import pytest

from proto.format import JsonSchema
from proto.frames import End, Failed
from proto.generation import Sampling
from proto.ids import RequestId
from proto.prompt import Chat, Turn
from services.gateway.asking.delivered import Delivered
from services.runner.engine.batching import pace
from services.runner.engine.batching.kv_room import KvRoom
from services.runner.engine.caching.cache_key import cache_key
from tests.unit.engine.asking import ask, prompt, receive

DRAFTS = ("twin", "likeness", "stranger")
CHAT = Chat(turns=(Turn(role="user", content="Tell me of tides."),))
SEEDED = Sampling(temperature=1.1, seed=11, top_p=0.95)


def plain(drive, sequence):
    driver = drive()
    driver.run(sequence)
    return driver.frames[sequence.request]


def content(frames):
    """All that a client is told, but for the times."""
    return [(f.reason, f.usage, f.stop) if isinstance(f, End) else f for f in frames]


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_greedy_answer_is_the_same_frame_by_frame(drive, paired, draft):
    pair = paired(draft)
    pair.run(ask("a", prompt(40), 120))

    assert content(pair.frames["a"]) == content(plain(drive, ask("a", prompt(40), 120)))
    assert pair.worth.passes


def test_drafts_differ_in_what_comes_true(paired):
    accepted = {}
    for draft in DRAFTS:
        pair = paired(draft, 4)
        pair.run(ask("a", prompt(40), 120))
        accepted[draft] = (pair.accepted, pair.refused)
    assert accepted["twin"][1] == 0
    assert accepted["twin"][0] > accepted["likeness"][0] > accepted["stranger"][0]
    assert accepted["likeness"][1] > 0


def test_a_twin_saves_four_passes_of_five(paired):
    pair = paired("twin", 4)
    pair.run(ask("a", prompt(40), 101))
    assert len(pair.worth.passes) == 20


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_seed_says_the_same_with_any_draft(drive, paired, draft):
    pair = paired(draft)
    pair.run(ask("a", prompt(40), 120, sampling=SEEDED))
    assert content(pair.frames["a"]) == content(
        plain(drive, ask("a", prompt(40), 120, sampling=SEEDED))
    )
    if draft == "twin":  # It draws by the same chance.
        assert pair.refused == 0


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0, presence_penalty=1.5, frequency_penalty=0.7),
        Sampling(temperature=0, repetition_penalty=1.3),
        Sampling(temperature=0.9, seed=4, repetition_penalty=1.2, logit_bias={77: 3.0}),
    ],
)
def test_penalties_count_what_was_said_and_no_guess(drive, paired, sampling):
    for draft in DRAFTS:
        pair = paired(draft)
        pair.run(ask("a", prompt(40), 80, sampling=sampling))
        assert pair.tokens("a") == [
            token
            for frame in plain(drive, ask("a", prompt(40), 80, sampling=sampling))
            for token in getattr(frame, "tokens", ())
        ]
        assert pair.worth.passes


def test_logprobs_are_those_of_plain_decoding(drive, paired):
    for draft in DRAFTS:
        pair = paired(draft)
        pair.run(ask("a", prompt(40), 60, logprobs=4))
        driver = drive()
        driver.run(ask("a", prompt(40), 60, logprobs=4))
        for ours, theirs in zip(pair.deltas("a"), driver.deltas("a"), strict=True):
            (our,), (their,) = ours.logprobs, theirs.logprobs
            assert our.chosen.token == their.chosen.token
            assert our.chosen.logprob == pytest.approx(their.chosen.logprob, abs=2e-4)
            assert [o.token for o in our.top] == [t.token for t in their.top]


@pytest.mark.parametrize("draft", DRAFTS)
def test_arrivals_and_cancels_in_between_change_no_answer(drive, paired, draft):
    """One alone, several, one alone again: whoever comes and goes, at whatever step."""
    rng = random.Random(3)
    pair = paired(draft, slots=4)
    asked = {f"r{i}": (prompt(rng.randrange(2, 60), i), rng.randrange(2, 60)) for i in range(14)}
    cancelled = {name for name in asked if rng.random() < 0.25}
    for number, (name, (tokens, length)) in enumerate(asked.items()):
        sampling = SEEDED if number % 2 else Sampling(temperature=0)
        pair.batch.add(ask(name, tokens, length, sampling=sampling))
        for _ in range(rng.randrange(0, 25)):
            pair.step()
        if name in cancelled:
            pair.batch.cancel(RequestId(name))
    pair.run()

    assert pair.worth.passes
    assert pair.worth.plain
    for number, (name, (tokens, length)) in enumerate(asked.items()):
        sampling = SEEDED if number % 2 else Sampling(temperature=0)
        driver = drive()
        driver.run(ask(name, tokens, length, sampling=sampling))
        said = pair.tokens(name)
        assert said == driver.tokens(name)[: len(said)]
        if isinstance(pair.last(name), Failed):
            assert name in cancelled
        else:
            assert content(pair.frames[name])[-1] == content(driver.frames[name])[-1]


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), SEEDED])
def test_an_answer_that_was_parked_again_and_again_is_the_same(drive, paired, sampling):
    pair = paired("twin", 3)
    pair.batch.add(ask("r", prompt(40, 1), 60, sampling=sampling, logprobs=2))
    while pair.batch.has_work or pair.batch.parked:
        for _ in range(4):
            pair.step()
        pair.batch.hold(RequestId("r"))
        pair.step()
        pair.batch.go_on(RequestId("r"))

    driver = drive()
    driver.run(ask("r", prompt(40, 1), 60, sampling=sampling, logprobs=2))
    assert pair.worth.passes
    assert pair.tokens("r") == driver.tokens("r")
    assert pair.last("r").usage == driver.last("r").usage


def test_a_stop_string_amid_accepted_tokens_ends_the_answer_there(drive, paired):
    driver = drive()
    driver.run(ask("whole", prompt(14), 40))
    whole = driver.text("whole")
    for at in range(8, 13):
        stop = whole[at : at + 3]
        pair = paired("twin", 8)
        pair.run(ask("cut", prompt(14), 40, stop=(stop,)))
        driver.run(ask(f"cut{at}", prompt(14), 40, stop=(stop,)))
        assert pair.text("cut") == driver.text(f"cut{at}") == whole[: whole.index(stop)]
        assert content(pair.frames["cut"])[-1][0] == "stop_sequence"
        assert pair.tokens("cut") == driver.tokens(f"cut{at}")
        # What was computed beyond it is kept, and true.
        more = prompt(14) + driver.tokens("whole")[:35]
        pair.run(ask("more", more, 12))
        driver.run(ask(f"more{at}", more, 12))
        assert pair.tokens("more") == driver.tokens(f"more{at}")


def test_the_end_of_the_turn_amid_accepted_tokens_ends_the_answer_there(
    drive, paired, tiny, monkeypatch
):
    driver = drive()
    driver.run(ask("whole", prompt(12, 3), 40))
    whole = driver.tokens("whole")
    at = max(map(whole.index, whole[8:25]))
    monkeypatch.setattr(tiny.tokenizer, "_eos_token_ids", {whole[at]})
    driver = drive()
    driver.run(ask("a", prompt(12, 3), 40))
    assert driver.last("a").usage.completion_tokens == at
    for ahead in (1, 2, 3, 5, 8):
        pair = paired("twin", ahead)
        pair.run(ask("a", prompt(12, 3), 40))
        assert content(pair.frames["a"]) == content(driver.frames["a"])
        assert pair.accepted


@pytest.mark.parametrize("most", range(1, 12))
def test_an_answer_is_as_long_as_it_may_be(drive, paired, most):
    pair = paired("twin", 4)
    pair.run(ask("a", prompt(9), most))
    assert content(pair.frames["a"]) == content(plain(drive, ask("a", prompt(9), most)))


PERSON = {
    "type": "object",
    "properties": {"name": {"enum": ["Ada", "Grace"]}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), SEEDED], ids=["greedy", "seeded"])
def test_an_answer_in_a_format_is_the_same(drive, paired, tiny, draft, sampling):
    def asked():
        return receive(
            tiny, "r", CHAT, format=JsonSchema(schema=PERSON), max_tokens=60, sampling=sampling
        )

    pair = paired(draft)
    pair.run(asked())
    assert content(pair.frames["r"]) == content(plain(drive, asked()))
    assert pair.worth.passes


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_conversation_goes_on_from_what_is_cached(drive, paired, draft):
    driver, pair = drive(), paired(draft)
    said = prompt(60)
    for turn in range(4):
        ours, theirs = (
            ask(f"t{turn}", said, 30, session="s"),
            ask(f"t{turn}", said, 30, session="s"),
        )
        pair.run(ours)
        driver.run(theirs)
        assert pair.tokens(f"t{turn}") == driver.tokens(f"t{turn}")
        assert pair.last(f"t{turn}").usage == driver.last(f"t{turn}").usage
        said = said + pair.tokens(f"t{turn}") + prompt(10, turn + 1)
    assert pair.last("t3").usage.cached_tokens > 100


def test_an_answer_that_another_engine_began_goes_on_the_same(drive, paired, tiny):
    """From an engine with a draft to one without and back: neither is asked how it decodes."""

    def asked(name, continues=None):
        made = receive(
            tiny, "r", CHAT, sampling=SEEDED, max_tokens=40, logprobs=2, continues=continues,
            epoch=0 if continues is None else 1,
        )  # fmt: skip
        made.request = RequestId(name)
        return made

    whole = drive()
    whole.run(asked("r"))
    frames = whole.frames["r"]
    for first, cut in itertools.product((True, False), (3, 9, 17, 30)):
        begun = paired("likeness") if first else drive()
        begun.run(asked("r"))
        counted = Delivered()
        counted.add(begun.frames["r"][:cut])
        rest = drive() if first else paired("likeness")
        rest.run(asked("rest", counted.continuation))
        said = [t for f in begun.frames["r"][:cut] for t in getattr(f, "tokens", ())]
        assert said + rest.tokens("rest") == whole.tokens("r")
        assert rest.last("rest").usage == frames[-1].usage


def test_a_long_prompt_is_read_by_the_draft_in_pieces_while_the_answer_goes_on(
    drive, paired, monkeypatch
):
    monkeypatch.setattr(pace, "LARGEST", 64)
    pair = paired("twin", 4)
    pair.run(ask("a", prompt(600), 100))
    driver = drive()
    driver.run(ask("a", prompt(600), 100))
    assert pair.tokens("a") == driver.tokens("a")
    # Ten chunks, a token said beside each, before the first guess.
    assert 5 <= pair.worth.plain <= 40
    assert pair.refused == 0


def test_an_answer_shorter_than_its_prompt_takes_to_read_is_spared_that(paired, monkeypatch):
    monkeypatch.setattr(pace.Pace, "cost_s", lambda _, tokens: 3600.0)
    pair = paired("twin", 4)
    pair.run(ask("a", prompt(600), 30))
    assert not pair.worth.passes
    assert pair.execution._drafter.nbytes == 0
    pair.run(ask("b", prompt(10), 30))
    assert pair.worth.passes


def test_the_draft_finds_its_own_part_of_a_conversation_again(paired, monkeypatch):
    monkeypatch.setattr(pace, "LARGEST", 64)
    pair = paired("twin", 4)
    pair.run(ask("a", prompt(600), 30))
    plain = pair.worth.plain
    pair.run(ask("b", prompt(600) + pair.tokens("a") + prompt(5, 1), 30))
    assert pair.worth.plain - plain <= 2


def test_owners_share_no_reading_of_the_draft_either(paired, tiny, monkeypatch):
    monkeypatch.setattr(pace, "LARGEST", 64)
    pair = paired("twin", 4)
    for owner in ("one", "two"):
        before = pair.worth.plain
        key = cache_key(prompt(600), owner, 0)
        pair.run(ask(owner, prompt(600), 30, cache_key=key))
        assert pair.worth.plain - before >= 5


def test_a_draft_that_breaks_is_left_and_the_answer_goes_on(drive, paired):
    pair = paired("twin", 4)
    pair.batch.add(ask("a", prompt(20), 60))
    for _ in range(4):
        pair.step()
    passes = len(pair.worth.passes)
    pair.execution._drafter.guess = lambda *_: 1 / 0
    pair.run()
    driver = drive()
    driver.run(ask("a", prompt(20), 60))
    assert passes
    assert len(pair.worth.passes) == passes
    assert pair.execution.drafting.trouble
    assert pair.tokens("a") == driver.tokens("a")


def test_beyond_the_draft_s_context_it_guesses_no_more(drive, paired, twin, monkeypatch):
    monkeypatch.setattr(
        "services.runner.engine.drafting.drafter.Drafter.can_read", lambda _, length: length <= 60
    )
    pair = paired("twin", 4)
    pair.run(ask("a", prompt(40), 60))
    driver = drive()
    driver.run(ask("a", prompt(40), 60))
    assert 0 < len(pair.worth.passes) <= 4
    assert pair.tokens("a") == driver.tokens("a")


def test_what_the_draft_holds_counts_as_kv_memory(drive, paired):
    pair, driver = paired("twin", 4), drive()
    for each in (pair, driver):
        each.batch.add(ask("a", prompt(300), 60))
        while len(each.tokens("a")) < 30:
            each.step()
    held = pair.batch._running.held_bytes
    assert held >= 1.5 * driver.batch._running.held_bytes


def test_what_the_draft_keeps_is_bounded_by_its_share_of_the_memory(paired):
    pair = paired("twin", 4, kv=KvRoom(tokens=4096, bytes=1 << 20))
    for number in range(12):
        pair.run(ask(f"r{number}", prompt(200, number), 20))
    assert 0 < pair.execution._drafter.nbytes <= (1 << 20) // 2
