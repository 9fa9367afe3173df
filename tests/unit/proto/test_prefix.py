import pytest

from proto.generation import Privacy
from proto.prefix import (
    LONGEST,
    PICTURE_CHARS,
    TEXT_BLOCK,
    TOKEN_BLOCK,
    TOKEN_CHARS,
    prefixes_of,
)
from proto.prompt import Chat, ImagePart, TextPart, Tokens, Tool, ToolCall, Turn
from proto.prompt import Text as Plain

SYSTEM = Turn(role="system", content="Be brief.")
QUESTION = Turn(role="user", content="Who?")
ANSWER = Turn(role="assistant", content="Me.")


def digests(*turns: Turn) -> list[bytes]:
    return [prefix.digest for prefix in prefixes_of(Chat(turns=turns))]


def test_a_longer_conversation_begins_like_the_shorter_one():
    before = prefixes_of(Chat(turns=(SYSTEM, QUESTION)))
    after = prefixes_of(Chat(turns=(SYSTEM, QUESTION, ANSWER, QUESTION)))

    assert after[:2] == before
    assert len(after) == 4
    assert {len(entry.digest) for entry in after} == {8}
    assert [entry.chars for entry in after] == [9, 13, 16, 20]


def test_an_edited_turn_changes_its_entry_and_all_after_it():
    edited = Turn(role="user", content="Why?")
    old, new = digests(SYSTEM, QUESTION, ANSWER), digests(SYSTEM, edited, ANSWER)

    assert [a == b for a, b in zip(old, new, strict=True)] == [True, False, False]


@pytest.mark.parametrize(
    "other",
    [
        Turn(role="assistant", content="x"),
        Turn(role="user", content="x", reasoning="r"),
        Turn(role="user", content="x", name="n"),
        Turn(role="user", content="x", call_id="c"),
        Turn(role="user", content="x", calls=(ToolCall(id="1", name="f", arguments="{}"),)),
        Turn(role="user", content="x", is_error=True),
        Turn(role="user", content=(TextPart(text="x"), ImagePart(digest=b"1"))),
    ],
)
def test_all_that_a_turn_says_counts(other):
    assert digests(Turn(role="user", content="x")) != digests(other)


def test_a_long_text_is_known_by_its_whole_blocks():
    document = "a" * (2 * TEXT_BLOCK)
    one, other = (digests(Turn(role="system", content=document + end)) for end in ("1", "2"))

    assert len(one) == 3
    assert one[:2] == other[:2]
    assert one[2] != other[2]


def test_whole_blocks_end_where_they_end():
    text = Turn(role="system", content="a" * TEXT_BLOCK)

    assert [p.chars for p in prefixes_of(Chat(turns=(text, QUESTION)))] == [
        TEXT_BLOCK, TEXT_BLOCK, TEXT_BLOCK + 4,
    ]  # fmt: skip


def test_the_same_text_in_other_parts_is_another_prompt():
    one = Turn(role="user", content=(TextPart(text="ab"), TextPart(text="c")))
    other = Turn(role="user", content=(TextPart(text="a"), TextPart(text="bc")))

    assert digests(one) != digests(other)


def test_tools_are_part_of_the_first_entry():
    tool = Tool(name="look", description="", parameters={})
    (plain,) = prefixes_of(Chat(turns=(SYSTEM,)))
    (equipped,) = prefixes_of(Chat(turns=(SYSTEM,), tools=(tool,)))

    assert plain.digest != equipped.digest
    assert equipped.chars == Chat(turns=(SYSTEM,), tools=(tool,)).chars > plain.chars


def test_pictures_are_told_apart_and_have_a_size():
    one, other = (
        prefixes_of(Chat(turns=(Turn(role="user", content=(ImagePart(digest=digest),)),)))
        for digest in (b"1", b"2")
    )

    assert one[0].digest != other[0].digest
    assert one[0].chars == PICTURE_CHARS


def test_plain_prompts_have_an_entry_for_every_block_and_one_for_the_rest():
    text = prefixes_of(Plain(text="a" * (2 * TEXT_BLOCK + 5)))
    tokens = prefixes_of(Tokens(ids=tuple(range(TOKEN_BLOCK))))

    assert [entry.chars for entry in text] == [TEXT_BLOCK, 2 * TEXT_BLOCK, 2 * TEXT_BLOCK + 5]
    assert [entry.chars for entry in tokens] == [TOKEN_CHARS * TOKEN_BLOCK]
    assert text[:1] == prefixes_of(Plain(text="a" * TEXT_BLOCK))


def test_of_a_chain_that_is_too_long_its_ends_are_told():
    turns = tuple(Turn(role="user", content=str(number)) for number in range(1000))
    chain = prefixes_of(Chat(turns=turns))

    assert len(chain) == LONGEST
    assert chain[: LONGEST // 2] == prefixes_of(Chat(turns=turns[: LONGEST // 2]))
    assert chain[-1].chars == Chat(turns=turns).chars
    longer = prefixes_of(Chat(turns=(*turns, QUESTION, ANSWER)))
    assert chain[-1] in longer


ANN, BOB = Privacy(owner="ann"), Privacy(owner="bob")


def test_only_the_system_is_called_the_same_for_two_owners():
    chat = Chat(turns=(SYSTEM, QUESTION, ANSWER))
    anns, bobs = prefixes_of(chat, ANN), prefixes_of(chat, BOB)

    assert [a == b for a, b in zip(anns, bobs, strict=True)] == [True, False, False]
    assert anns[0] == prefixes_of(chat)[0]
    assert [p.chars for p in anns] == [p.chars for p in prefixes_of(chat)]


@pytest.mark.parametrize(
    ("prompt", "privacy"),
    [
        (Plain(text="x" * 3 * TEXT_BLOCK), ANN),
        (Tokens(ids=tuple(range(3 * TOKEN_BLOCK))), ANN),
        (Chat(turns=(QUESTION, ANSWER), tools=(Tool(name="f"),)), ANN),
        (Chat(turns=(SYSTEM, QUESTION)), Privacy(owner="ann", shares_system=False)),
    ],
)
def test_what_is_an_owners_alone_has_names_of_its_own_from_the_first_on(prompt, privacy):
    mine, everybodys = prefixes_of(prompt, privacy), prefixes_of(prompt)

    assert not {p.digest for p in mine} & {p.digest for p in everybodys}
    assert mine == prefixes_of(prompt, privacy)
