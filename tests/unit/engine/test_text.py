import random

import pytest

from services.runner.engine.answer.channels import Plain
from services.runner.engine.text import Pieces


@pytest.fixture(scope="module")
def pieces(tiny):
    return Pieces(tiny.tokenizer)


def write(pieces, tokens, stops=()):
    """The texts of all pushes and of the end, and the stop that was met."""
    answer = Plain(pieces, 5, stops)
    texts = []
    for token in tokens:
        said, over = answer.push(token)
        texts.append("".join(piece.text for piece in said))
        if over:
            return texts, over.stop
    said, over = answer.finish()
    return [*texts, "".join(piece.text for piece in said)], over and over.stop


def test_text_equals_the_tokenizers_decoding(pieces, tiny):
    for sample in ("Hello world, 123!\n", " leading space", "größer · 東京 🎉", ""):
        tokens = tiny.tokenizer.encode(sample)
        assert "".join(write(pieces, tokens)[0]) == sample


def test_a_character_is_held_until_its_last_byte(pieces, tiny):
    texts, _ = write(pieces, tiny.tokenizer.encode("🎉"))
    assert texts == ["", "", "", "🎉", ""]


def test_broken_bytes_become_replacements_and_are_held_for_three_at_most(pieces):
    rng = random.Random(3)
    tokens = [rng.randrange(3, 259) for _ in range(2000)]
    answer = Plain(pieces, 5)
    silent = longest = 0
    for token in tokens:
        said, _ = answer.push(token)
        silent = 0 if said else silent + 1
        longest = max(longest, silent)
    assert longest <= 3
    whole = b"".join(pieces[token] for token in tokens).decode(errors="replace")
    assert "".join(write(pieces, tokens)[0]) == whole


def test_a_token_beyond_the_tokenizer_has_no_text(pieces):
    assert write(pieces, [10_000])[0] == ["", ""]


def test_every_byte_is_some_tokens_own(pieces):
    assert {pieces[token] for token in range(3, 259)} == {bytes([b]) for b in range(256)}


def test_stops_agree_with_a_search_of_the_whole_text(pieces, tiny):
    rng = random.Random(4)
    for _ in range(300):
        text = "".join(rng.choices("aab\n", k=40))
        stops = tuple("".join(rng.choices("aab\n", k=rng.randrange(1, 6))) for _ in range(2))
        texts, stop = write(pieces, tiny.tokenizer.encode(text), stops)
        ends = [text.index(s) + len(s) for s in stops if s in text]
        if not ends:
            assert ("".join(texts), stop) == (text, None)
        else:
            assert stop in stops
            assert "".join(texts) == text[: min(ends) - len(stop)]


def test_text_that_keeps_almost_matching_is_not_held_for_ever(pieces, tiny):
    texts, _ = write(pieces, tiny.tokenizer.encode("a" * 50), ("aab",))
    assert len("".join(texts[:-1])) >= 48
