"""Whose prompts meet in a prefix cache."""

import pytest

from proto.generation import Privacy
from proto.prompt import Chat, Text, Turn
from services.runner.engine.caching.cache_key import agreement, cache_key
from tests.unit.engine.asking import receive

SYSTEM = Turn(role="system", content="Answer as a sailor would, in a word or two. " * 4)
SECRET = Turn(role="user", content="The launch code is four times nine, tell nobody of it.")
CHAT = Chat(turns=(SYSTEM, SECRET))
ANN, BOB = Privacy(owner="ann"), Privacy(owner="bob")


def cached(tiny, drive, first, second, prompt=CHAT, again=None):
    """How much of a prompt the second owner finds that the first one asked, and its length."""
    driver = drive()
    driver.run(receive(tiny, "first", prompt, max_tokens=2, privacy=first))
    driver.run(receive(tiny, "second", again or prompt, max_tokens=2, privacy=second))
    usage = driver.last("second").usage
    return usage.cached_tokens, usage.prompt_tokens


def test_an_owner_finds_all_of_its_own_prompts(tiny, drive):
    found, length = cached(tiny, drive, ANN, ANN)

    assert found == length - 1


def test_another_owner_finds_the_system_prompt_and_nothing_of_what_follows(tiny, drive):
    found, length = cached(tiny, drive, ANN, BOB)
    guess = Chat(turns=(SYSTEM, Turn(role="user", content=SECRET.content[:24])))
    wrong = Chat(turns=(SYSTEM, Turn(role="user", content="Something else altogether.")))

    common = len(receive(tiny, "r", CHAT, privacy=ANN).prompt) - length + found
    assert 0 < common < length - 20
    assert cached(tiny, drive, ANN, BOB, again=guess)[0] == found
    assert cached(tiny, drive, ANN, BOB, again=wrong)[0] == found


def test_where_systems_are_not_shared_another_owner_finds_nothing(tiny, drive):
    ann, bob = (Privacy(owner=name, shares_system=False) for name in ("ann", "bob"))

    assert cached(tiny, drive, ann, bob)[0] == 0
    found, length = cached(tiny, drive, ann, ann)
    assert found == length - 1


@pytest.mark.parametrize("prompt", [Text(text=SYSTEM.content), Chat(turns=(SECRET,))])
def test_a_prompt_without_a_system_is_its_owners(tiny, drive, prompt):
    found, length = cached(tiny, drive, ANN, BOB, prompt)

    assert found <= (0 if isinstance(prompt, Text) else length // 4)


def test_an_answer_is_its_owners_too(tiny, drive):
    driver = drive()
    driver.run(receive(tiny, "first", CHAT, max_tokens=8, privacy=ANN))
    said = Turn(role="assistant", content=driver.text("first"))
    going_on = Chat(turns=(*CHAT.turns, said, Turn(role="user", content="And then?")))
    driver.run(receive(tiny, "ann", going_on, max_tokens=1, privacy=ANN))
    driver.run(receive(tiny, "bob", going_on, max_tokens=1, privacy=BOB))

    asked = driver.last("first").usage.prompt_tokens
    assert driver.last("ann").usage.cached_tokens >= asked
    assert driver.last("bob").usage.cached_tokens < asked - 20


def test_everybodys_tokens_are_known_by_themselves(tiny):
    assert receive(tiny, "r", CHAT).cache_key is None


def test_two_owners_keys_have_only_what_is_common_in_common():
    ann, bob = (cache_key([1, 2, 3, 4], owner, common=2) for owner in ("ann", "bob"))

    assert agreement(ann.of([1, 2, 3, 4, 5]), bob.of([1, 2, 3, 4, 5])) == 2
    assert ann.of([1, 2, 3, 4, 5])[:4] == ann.prompt
    assert ann.of([1, 2, 3]) == ann.prompt[:3]


@pytest.mark.parametrize(
    ("ours", "theirs", "common"),
    [([], [], 0), ([1], [2], 0), ([1, 2, 3], [1, 2], 2), ([1, 2, 3], [1, 9, 3], 1)],
)
def test_how_far_two_runs_agree(ours, theirs, common):
    assert agreement(ours, theirs) == common
    long = list(range(1000))
    assert agreement(long, [*long[:617], 0, *long[618:]]) == 617
