import pytest

from proto.errors import Code, MeshError
from proto.generation import Sampling
from proto.prompt import Chat, Text, Tokens, Turn
from services.runner.engine.batching.sampling import check, sampler
from services.runner.engine.prompts.prompt import room, tokens_of


def chat(*turns, continues_last=False):
    turns = tuple(Turn(role=role, content=content) for role, content in turns)
    return Chat(turns=turns, continues_last=continues_last)


def refusal(prompt, model):
    with pytest.raises(MeshError) as refused:
        tokens_of(prompt, model)
    assert refused.value.code is Code.INVALID_REQUEST
    return refused.value.message


def test_a_conversation_is_rendered_by_the_models_template(tiny):
    tokens = tokens_of(chat(("system", "Be brief."), ("user", "Hi")), tiny)
    assert tiny.tokenizer.decode(tokens) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_continued_last_turn_stays_open(tiny):
    open_end = chat(("user", "Hi"), ("assistant", "Well"), continues_last=True)
    assert tiny.tokenizer.decode(tokens_of(open_end, tiny)).endswith("<|im_start|>assistant\nWell")


def test_text_and_tokens_are_taken_as_they_stand(tiny):
    assert tiny.tokenizer.decode(tokens_of(Text(text="one two"), tiny)) == "one two"
    assert tokens_of(Tokens(ids=(5, 6, 511)), tiny) == [5, 6, 511]


def test_nonsense_is_refused_with_its_reason(tiny):
    assert "512" in refusal(Tokens(ids=(5, 512)), tiny)
    assert "empty" in refusal(Tokens(ids=()), tiny)
    assert "empty" in refusal(Text(text=""), tiny)
    assert "no messages" in refusal(chat(), tiny)
    assert "assistant" in refusal(chat(("user", "Hi"), continues_last=True), tiny)


def test_the_templates_own_words_are_passed_on(tiny, monkeypatch):
    template = "{{ raise_exception('System role not supported') }}"
    monkeypatch.setattr(tiny.tokenizer._tokenizer, "chat_template", template)
    assert "System role not supported" in refusal(chat(("system", "x")), tiny)


def test_the_answer_gets_what_was_asked_or_what_is_left():
    assert room(10, None, 100) == 90
    assert room(10, 20, 100) == 20
    assert room(10, 200, 100) == 90
    assert room(99, None, 100) == 1
    with pytest.raises(MeshError) as refused:
        room(100, 5, 100)
    assert refused.value.code is Code.CONTEXT_OVERFLOW
    assert "100 tokens" in refused.value.message
    assert "holds 100" in refused.value.message


def test_a_context_that_was_granted_says_how_to_get_the_rest():
    with pytest.raises(MeshError) as refused:
        room(100, 5, 100, made_for=4096)
    assert "of the model's context of 4096 tokens it was loaded with 100" in refused.value.message
    assert "odyssai load --context" in refused.value.message


def test_equal_requests_without_a_seed_share_one_sampler():
    warm = Sampling(temperature=0.7, top_p=0.9)
    assert sampler(warm, 512) is sampler(Sampling(temperature=0.7, top_p=0.9), 512)
    assert sampler(warm, 512) is not sampler(Sampling(temperature=0.7, top_p=0.8), 512)
    assert sampler(Sampling(temperature=0), 512) is sampler(Sampling(temperature=0, seed=4), 512)


def test_a_bias_on_a_strange_token_names_the_parameter():
    with pytest.raises(MeshError) as refused:
        check(Sampling(logit_bias={512: 1.0}), 512)
    assert refused.value.param == "logit_bias"
