from proto.inference import Chat, Text, Tokens, Turn
from proto.prefix import LONGEST, TEXT_BLOCK, TOKEN_BLOCK, prefix_hashes

SYSTEM = Turn(role="system", content="Be brief.")
QUESTION = Turn(role="user", content="Who?")
ANSWER = Turn(role="assistant", content="Me.")


def test_a_longer_conversation_begins_with_the_hashes_of_the_shorter_one():
    before = prefix_hashes(Chat(turns=(SYSTEM, QUESTION)))
    after = prefix_hashes(Chat(turns=(SYSTEM, QUESTION, ANSWER, QUESTION)))

    assert after[:2] == before
    assert len(after) == 4
    assert {len(entry) for entry in after} == {8}


def test_an_edited_turn_changes_its_hash_and_all_after_it():
    edited = Turn(role="user", content="Why?")
    old = prefix_hashes(Chat(turns=(SYSTEM, QUESTION, ANSWER)))
    new = prefix_hashes(Chat(turns=(SYSTEM, edited, ANSWER)))

    assert [a == b for a, b in zip(old, new, strict=True)] == [True, False, False]


def test_who_said_it_counts():
    said = [Turn(role="user", content="x"), Turn(role="assistant", content="x")]

    assert prefix_hashes(Chat(turns=(said[0],))) != prefix_hashes(Chat(turns=(said[1],)))


def test_plain_prompts_have_one_hash_for_every_whole_block():
    text = prefix_hashes(Text(text="a" * (2 * TEXT_BLOCK + 5)))
    tokens = prefix_hashes(Tokens(ids=tuple(range(TOKEN_BLOCK))))

    assert (len(text), len(tokens)) == (2, 1)
    assert text[:1] == prefix_hashes(Text(text="a" * TEXT_BLOCK))


def test_the_chain_is_bounded():
    assert len(prefix_hashes(Chat(turns=(QUESTION,) * 1000))) == LONGEST
