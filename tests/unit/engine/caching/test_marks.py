from proto.prefix import TEXT_BLOCK, prefixes_of
from proto.presence import MOST_PREFIXES
from proto.prompt import Chat, Text, Turn
from services.runner.engine.caching.marks import Mark, marks_of, told

CHAT = Chat(
    turns=(Turn(role="system", content="s" * 100), Turn(role="user", content="u" * 300)),
)


def test_a_mark_stands_where_its_part_of_the_characters_ends():
    system, user = prefixes_of(CHAT)

    assert marks_of(CHAT, 100) == (Mark(system.digest, 25), Mark(user.digest, 100))


def test_a_beginning_of_less_than_a_token_is_not_marked():
    assert [mark.tokens for mark in marks_of(CHAT, 3)] == [3]


def test_plain_prompts_are_marked_by_their_blocks():
    assert [mark.tokens for mark in marks_of(Text(text="a" * 2 * TEXT_BLOCK), 600)] == [300, 600]


def test_an_empty_prompt_has_no_marks():
    assert marks_of(Text(text=""), 1) == ()


def test_the_ends_of_all_runs_come_first_then_their_beginnings_then_the_rest():
    one, other = {b"1": 1, b"2": 2, b"3": 3}, {b"4": 4, b"5": 5, b"6": 6}

    said = list(told([one, {}, other]))

    assert said == [b"3", b"6", b"1", b"4", b"2", b"5"]


def test_of_a_prefix_that_is_cached_twice_the_more_telling_is_told():
    assert told([{b"1": 7}, {b"1": 9}]) == {b"1": 7}


def test_no_more_is_told_than_a_heartbeat_may_carry():
    runs = [{b"%d" % number: number} for number in range(1, 2 * MOST_PREFIXES)]

    assert told(runs) == {b"%d" % n: n for n in range(1, MOST_PREFIXES + 1)}
