"""Where pictures stand in a prompt, by templates of every manner."""

import pytest
from jinja2 import Environment

from proto.errors import Code, MeshError
from proto.prompt import Chat, Turn
from services.runner.engine.prompts.prompt import tokens_of
from services.runner.engine.vision.template import manner
from tests.tiny_vlm import ID
from tests.unit.engine.vision.conftest import A, B
from tests.unit.engine.vision.pictures import chat, part, turn

LISTS_ONLY = (
    "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{% if p.type == 'image' %}[P]"
    "{% elif p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}"
)
STRINGS_ONLY = "{% for m in messages %}<{{ m.role }}>{{ m.content + '' }}{% endfor %}"
EITHER = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{% if p.type == 'image' %}((  [P]  )){% else %}{{ p.text }}"
    "{% endif %}{% endfor %}{% endif %}{% endfor %}"
)


def by(template):
    made = Environment().from_string(template)
    return manner(lambda messages: made.render(messages=messages), "[P]")


def test_a_template_for_lists_gets_nothing_else():
    its = by(LISTS_ONLY)
    shown = [{"type": "text", "text": "see "}, {"type": "image"}]
    assert its.content(turn("see ", A)) == shown
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": shown}]
    assert its.fitted(messages) == [
        {"role": "system", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "content": shown},
    ]


def test_a_template_for_strings_gets_the_mark_as_text():
    its = by(STRINGS_ONLY)
    assert its.content(Turn(role="user", content="hi")) == "hi"
    assert its.content(turn("see ", A, "!")) == "see [P]!"


def test_what_a_template_writes_for_a_picture_can_be_written_for_it():
    its = by(EITHER)
    assert its.content(Turn(role="user", content="hi")) == "hi"
    assert {"type": "image"} in its.content(turn(A))
    assert its.content(turn("a", A, "b"), is_spelled=True) == "a((  [P]  ))b"


def test_pictures_come_where_the_conversation_has_them(seeing):
    shown = seeing("qwen2_vl")
    asked = shown.ask("a", chat("one ", A, " two ", B, " three"))
    tokens, sight = asked.prompt, asked.sight
    patches = [token == ID["<|image_pad|>"] for token in tokens]
    assert (sight.shown >= 0).tolist() == patches
    assert [picture.digest for picture in sight.pictures] == [part(A).digest, part(B).digest]
    first, last = patches.index(True), len(patches) - patches[::-1].index(True)
    between = shown.model.tokenizer.decode(tokens[:first])
    assert between.endswith("one <|vision_start|>")
    assert "three" in shown.model.tokenizer.decode(tokens[last:])


def test_words_that_look_like_a_picture_are_words(seeing):
    shown = seeing("qwen2_vl")
    plain = shown.ask("a", chat("see <|image_pad|> ", A, " and <|image_pad|><|image_pad|>"))
    without = shown.ask("b", chat("see ", A, " and "))
    patches = (plain.sight.shown >= 0).sum()
    assert patches == (without.sight.shown >= 0).sum()
    assert plain.prompt.count(ID["<|image_pad|>"]) == patches + 3
    assert all(key >= 0 for key, is_shown in zip(plain.sight.keys, plain.sight.shown, strict=True)
               if is_shown < 0)  # fmt: skip


def test_a_picture_in_a_turn_that_the_template_does_not_expect_is_shown(seeing, monkeypatch):
    """A tool's result, say, whose content many templates print as it is."""
    shown = seeing("qwen2_vl")
    template = shown.model.tokenizer.chat_template.replace(
        "m['content'] is string", "m['content'] is string or m['role'] == 'tool'"
    )
    monkeypatch.setattr(shown.model.tokenizer._tokenizer, "chat_template", template)
    turns = (turn("look"), turn("it is ", A, role="tool"), turn("and ", B))
    asked = shown.ask("a", Chat(turns=turns))
    assert len(asked.sight.pictures) == 2
    assert "{'type'" not in shown.model.tokenizer.decode(asked.prompt)


def test_tools_and_pictures_share_a_prompt(seeing):
    from proto.prompt import Tool

    shown = seeing("smolvlm")
    tools = (Tool(name="zoom", description="look closer"),)
    asked = shown.ask("a", Chat(turns=(turn("see ", A),), tools=tools))
    text = shown.model.tokenizer.decode(asked.prompt)
    assert "zoom" in text
    assert len(asked.sight.pictures) == 1


def test_a_picture_that_no_manner_shows_is_a_refusal(seeing, monkeypatch):
    shown = seeing("qwen2_vl")
    template = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
    monkeypatch.setattr(shown.model.tokenizer._tokenizer, "chat_template", template)
    with pytest.raises(MeshError) as refused:
        shown.ask("a", chat(A))
    assert refused.value.code is Code.INVALID_REQUEST
    assert "does not show all images" in refused.value.message


def test_a_model_that_reads_only_says_so(tiny):
    with pytest.raises(MeshError) as refused:
        tokens_of(chat("see ", A), tiny)
    assert refused.value.code is Code.UNSUPPORTED_PARAMETER


def test_positions_are_those_of_mlx_vlm(seeing):
    import mlx.core as mx

    for family in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"):
        shown = seeing(family)
        asked = shown.ask("a", chat("one", A, B, "two", A, "three"))
        grids = [[t, 2 * h, 2 * w] for t, h, w in (p.grid for p in asked.sight.pictures)]
        language = shown.model.model.inner.language_model
        places, deltas = language.get_rope_index(mx.array([asked.prompt]), mx.array(grids))
        assert asked.sight.positions.tolist() == places[:, 0].tolist()
        assert asked.sight.shift == deltas.item()
