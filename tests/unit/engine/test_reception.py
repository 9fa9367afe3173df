import asyncio

import pytest

from proto.errors import Code, MeshError
from proto.frames import End
from proto.generation import Sampling
from proto.prompt import Chat, Text, Tokens, Turn
from proto.tokenization import Detokenize, Tokenize
from tests.unit.engine.asking import receive, reception

HI = Chat(turns=(Turn(role="user", content="Hi"),))


def tokenized(model, prompt, **rest):
    asked = Tokenize(model=model.card.id, prompt=prompt, **rest)
    return asyncio.run(reception(model).tokenize(asked))


def detokenized(model, *tokens):
    asked = Detokenize(model=model.card.id, tokens=tokens)
    return asyncio.run(reception(model).detokenize(asked)).text


def test_nothing_to_generate_reads_the_prompt_and_ends(tiny, drive):
    driver = drive()
    asked = Text(text="so it was and so it will be " * 3)
    driver.run(receive(tiny, "warm", asked, max_tokens=0))
    end = driver.last("warm")
    assert isinstance(end, End)
    assert (end.reason, end.usage.completion_tokens, driver.tokens("warm")) == ("length", 0, [])
    driver.run(receive(tiny, "next", asked, max_tokens=2))
    assert driver.last("next").usage.cached_tokens == end.usage.prompt_tokens - 1


def test_reading_alone_may_fill_the_whole_context(tiny):
    asked = Tokens(ids=tuple(range(3, 511)) * 2 + tuple(range(3, 11)))
    assert receive(tiny, "r", asked, max_tokens=0).max_tokens == 0
    with pytest.raises(MeshError) as refused:
        receive(tiny, "r", asked, max_tokens=1)
    assert refused.value.code is Code.CONTEXT_OVERFLOW


def test_a_biased_word_is_each_of_its_tokens(tiny, drive):
    tokens = tiny.tokenizer.encode("XY")
    biased = Sampling(temperature=0, word_bias={"XY": 60.0}, logit_bias={tokens[0]: 40.0})
    sequence = receive(tiny, "r", HI, sampling=biased, max_tokens=8)
    assert sequence.sampling.logit_bias == {tokens[0]: 100.0, tokens[1]: 60.0}
    driver = drive()
    driver.run(sequence)
    assert driver.text("r") == "XXXXXXXX"


def test_tokens_come_with_their_bytes_and_go_back_to_text(tiny):
    answer = tokenized(tiny, Text(text="größer"))
    assert b"".join(answer.pieces) == "größer".encode()
    assert detokenized(tiny, *answer.tokens) == "größer"
    assert tokenized(tiny, HI).tokens == tuple(receive(tiny, "r", HI).prompt)


def test_special_tokens_are_added_to_a_plain_text_only_when_wanted(tiny, monkeypatch):
    from tokenizers.processors import TemplateProcessing

    begin = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    monkeypatch.setattr(tiny.tokenizer.backend_tokenizer, "post_processor", begin)
    with_it = tokenized(tiny, Text(text="abc")).tokens
    assert with_it == (0, *tokenized(tiny, Text(text="abc"), with_specials=False).tokens)


def test_tokens_that_are_none_are_refused(tiny):
    with pytest.raises(MeshError, match="512"):
        detokenized(tiny, 5, 512)


def test_a_vocabulary_that_cannot_be_read_keeps_no_formats(tiny, monkeypatch):
    from proto.format import JsonObject
    from services.runner.engine.reception import Reception

    fresh = Reception(tiny)
    monkeypatch.setattr("llguidance.hf.from_tokenizer", lambda *_, **__: 1 / 0)
    assert not asyncio.run(fresh.prepare())
    monkeypatch.setattr("tests.unit.engine.asking._RECEPTIONS", {id(tiny): fresh})
    with pytest.raises(MeshError) as refused:
        receive(tiny, "r", HI, format=JsonObject())
    assert refused.value.code is Code.UNSUPPORTED_PARAMETER
    assert refused.value.param == "response_format"
