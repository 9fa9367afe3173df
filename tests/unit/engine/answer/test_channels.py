import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.speaking import Heard, answer, markup, wrapped

FAMILIES = {
    "think": ("<think>", "</think>"),
    "longcat": ("<longcat_think>", "</longcat_think>"),
    "lfm": ("<|think:start|>", "<|think:end|>"),
    "gemma": ("<|channel>thought", "<channel|>"),
    "xtml": ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
}
SINGLE_TOKENS = {
    "gemma": ("<|channel>", "<channel|>"),
    "xtml": ("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"),
}
ONE_CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "you"}}\n</tool_call>'


@pytest.fixture(scope="module")
def marked(tiny):
    """By family of thinking: its markup."""
    return {
        name: markup(wrapped(tiny.tokenizer, *SINGLE_TOKENS.get(name, markers)))
        for name, markers in FAMILIES.items()
    }


@pytest.fixture(scope="module")
def think(marked):
    return marked["think"]


def whole(text, marked, **settings):
    return hear([text], marked, **settings)


def hear(chunks, marked, *, is_cut=False, **settings):
    return Heard(answer(chunks, marked, **settings), len(chunks), is_cut=is_cut)


def letters(text):
    return list(text)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", [letters, lambda text: [text]])
def test_thinking_is_told_from_content_in_every_family(marked, family, cut):
    start, end = FAMILIES[family]
    heard = hear(cut(f"{start}\nhm, 2 < 3{end}\n\nYes."), marked[family])
    assert (heard.reasoning, heard.content) == ("\nhm, 2 < 3", "Yes.")


@pytest.mark.parametrize("family", FAMILIES)
def test_thinking_that_the_template_opened_needs_no_marker(marked, family):
    heard = hear(letters(f"so{FAMILIES[family][1]}\n\nYes."), marked[family], state="reasoning")
    assert (heard.reasoning, heard.content) == ("so", "Yes.")


def test_markers_of_messages_around_content_are_left_out(marked):
    text = "<|open|>response<|sep|>Yes.<|close|>response<|sep|><|close|>message<|sep|>"
    assert hear(letters(text), marked["xtml"]).content == "Yes."


def test_a_model_with_headers_says_only_what_is_for_the_user(tiny):
    from mlx_lm.chat_templates.muse_spark import RESPONSE_FORMAT

    muse = markup(wrapped(tiny.tokenizer, response_format=RESPONSE_FORMAT))
    text = " to=self<|message|>hm<|eom|><|start|>assistant to=user<|message|>Yes.<|eot|>"
    heard = hear(letters(text), muse, state="header")
    assert (heard.reasoning, heard.content) == ("hm", "Yes.")
    assert muse.begins(tiny.tokenizer, [5, 6], None) == "header"


def test_without_tools_the_text_of_a_call_is_content(think):
    assert hear(letters(ONE_CALL), think).content == ONE_CALL


def test_calls_and_the_space_around_them_are_no_content(think):
    heard = hear(letters(f"Let me look.\n{ONE_CALL}\n{ONE_CALL}\n"), think, tools=())
    assert heard.content == "Let me look.\n"
    assert heard.calls == [("look", '{"at": "you"}')] * 2
    assert heard.reason == "tool_calls"


def test_a_call_may_follow_thinking_at_once_or_come_out_of_it(think):
    for text in (f"<think>hm</think>\n\n{ONE_CALL}", f"<think>hm{ONE_CALL}"):
        heard = hear(letters(text), think, tools=())
        assert (heard.reasoning, heard.content, len(heard.calls)) == ("hm", "", 1)


def test_one_call_is_enough_where_calls_are_not_to_be_parallel(think):
    heard = hear(letters(f"{ONE_CALL}\n{ONE_CALL}"), think, tools=(), is_parallel=False)
    assert (len(heard.calls), heard.reason) == (1, "tool_calls")


def test_a_call_that_was_cut_off_is_reported_and_ends_with_length(think):
    heard = hear(letters(ONE_CALL[:-30]), think, tools=(), is_cut=True)
    assert (len(heard.calls), heard.reason, heard.content) == (1, "length", "")


def test_content_after_a_call_keeps_its_space(think):
    assert hear(letters(f"{ONE_CALL}\n\nDone."), think, tools=()).content == "\n\nDone."


def test_stops_count_in_content_only(think):
    heard = hear(letters("<think>one. two</think>\n\nfirst. second"), think, stops=(". ",))
    assert (heard.reasoning, heard.content) == ("one. two", "first")
    assert (heard.reason, heard.stop) == ("stop_sequence", ". ")


def test_a_stop_that_never_came_and_a_marker_that_was_none_are_content(think):
    heard = hear(letters("a <thi EN"), think, stops=("END",))
    assert (heard.content, heard.reason) == ("a <thi EN", "stop")


def test_once_formatted_content_began_no_marker_counts(think):
    text = '{"a": "<think>x</think>' + ONE_CALL + '"}'
    heard = hear(letters(f"<think>hm</think>{text}"), think, tools=(), is_formatted=True)
    assert (heard.reasoning, heard.content, heard.calls) == ("hm", text, [])


def test_formatted_content_keeps_the_newlines_that_it_begins_with(think):
    heard = hear(letters("<think>hm</think>\n\nab"), think, is_formatted=True)
    assert heard.content == "\n\nab"


def test_space_alone_is_an_answer_too(think):
    assert hear(letters("\n \n"), think).content == "\n \n"


def test_text_that_keeps_almost_being_a_marker_is_not_held_for_ever(think):
    spoken = answer(["<"] * 50, think)
    said = "".join(piece.text for token in range(50) for piece in spoken.push(token)[0])
    assert len(said) >= 50 - len("<think>")


def test_reasoning_tokens_are_those_up_to_the_one_that_ended_the_thinking(think):
    cases = {
        ("<think>", "a", "b", "</think>", "\n\n", "Yes"): 4,
        ("\n", "<think>", "a", "</think>", "Yes"): 4,
        ("<", "think", ">", "a", "</thi", "nk>Yes"): 6,
        ("Well", "<think>", "a", "</think>", "Yes"): 3,
        ("<think>", "a", "</think>", "x", "<think>", "b", "</think>", "Yes"): 6,
        ("<think>", "a", "</think>", "\n", "<think>", "b", "</think>", "Yes"): 6,
        ("<think>", "a", "b"): 3,
        ("Yes", "."): 0,
    }
    for chunks, tokens in cases.items():
        assert hear(list(chunks), think, is_cut=True).reasoning_tokens == tokens, chunks
    assert hear(["a", "</think>", "Yes"], think, state="reasoning").reasoning_tokens == 2


MARKERS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
PARTS = st.sampled_from(
    [*MARKERS, ONE_CALL, *("\n", " ", "<", "<think", "</", ">", "a", "END", "EN")]
)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(PARTS, max_size=14), data=st.data())
@pytest.mark.parametrize("is_formatted", [False, True])
@pytest.mark.parametrize("tools", [None, ()])
def test_every_way_to_cut_a_text_gives_the_same_channels(think, parts, data, tools, is_formatted):
    text = "".join(parts)
    stops = data.draw(st.sampled_from([(), ("END",), ("a", "ENx"), ("\n\n",)]))
    state = data.draw(st.sampled_from(["normal", "reasoning"]))
    is_cut = data.draw(st.booleans())
    rng = random.Random(data.draw(st.integers(0, 1 << 30)))
    cuts = sorted(rng.sample(range(len(text) + 1), min(len(text), rng.randrange(8))))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    known = {"state": state, "stops": stops, "tools": tools, "is_formatted": is_formatted}

    expected = hear(letters(text) or [""], think, is_cut=is_cut, **known).all

    assert hear(chunks, think, is_cut=is_cut, **known).all == expected
    assert whole(text, think, is_cut=is_cut, **known).all == expected


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(PARTS, max_size=14))
def test_channels_are_what_a_search_for_the_markers_finds(think, parts):
    text = "".join(parts)
    content, reasoning, is_open = "", "", False
    for piece in re.split("(<think>|</think>)", text):
        if piece in ("<think>", "</think>"):
            is_open = piece == "<think>"
        elif is_open:
            reasoning += piece
        else:
            content += piece

    heard = whole(text, think)

    assert heard.reasoning == reasoning
    assert "".join(heard.content.split()) == "".join(content.split())


def test_an_open_block_at_the_end_of_the_prompt_is_seen(tiny):
    tokenizer = wrapped(tiny.tokenizer, "<think>", "</think>")
    marked = markup(tokenizer)

    def begins(text, prefill=None):
        return marked.begins(tokenizer, tokenizer.encode(text), prefill)

    assert begins("<|im_start|>assistant\n<think>\n") == "reasoning"
    assert begins("<|im_start|>assistant\n<think>\n\n</think>\n\n") == "normal"
    assert begins("what is <think><|im_end|>\n<|im_start|>assistant\n") == "normal"
    assert begins("<|im_start|>assistant\n") == "normal"
    assert begins("…", prefill="<think>so far") == "reasoning"
    assert begins("…", prefill="<think>a</think>so far") == "normal"
