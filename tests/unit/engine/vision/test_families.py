"""Every family answers about pictures as mlx-vlm itself does, alone and in a batch."""

import json
import shutil
import warnings
from io import BytesIO

import mlx.core as mx
import pytest
from mlx_vlm.generate import generate_step
from mlx_vlm.utils import load as load_directly
from PIL import Image

from proto.generation import Continuation
from services.runner.engine.batching import pace
from services.runner.engine.batching.continuing import go_on
from services.runner.engine.loading import load
from services.runner.engine.vision.families import FAMILIES
from tests import tiny_vlm
from tests.unit.engine.asking import ask, prompt
from tests.unit.engine.vision.conftest import A, B
from tests.unit.engine.vision.pictures import Shown, chat, png, turn

families = pytest.mark.parametrize("family", sorted(FAMILIES))
with_two = pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"llava"}))
"""mlx-vlm's own llava takes one picture only."""


def test_every_family_has_a_tiny_model():
    assert tiny_vlm.FAMILIES.keys() == FAMILIES.keys()


def by_mlx_vlm(folder, chat, *pictures, tokens=12):
    """Prompt and greedy answer by mlx-vlm alone."""
    model, processor = load_directly(str(folder))
    content = [
        {"type": "text", "text": part.text} if hasattr(part, "text") else {"type": "image"}
        for part in chat.turns[0].content
    ]
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    inputs = dict(processor(text=[text], images=[Image.open(BytesIO(p)) for p in pictures]))
    ids, pixels = mx.array(inputs.pop("input_ids")), inputs.pop("pixel_values")
    mask = mx.array(inputs.pop("attention_mask"))
    step = generate_step(ids, model, pixels, mask, max_tokens=tokens, temperature=0.0, **inputs)
    return ids.tolist()[0], [int(token) for (token, _), _ in zip(step, range(tokens), strict=False)]


@families
def test_an_answer_is_mlx_vlms_own_and_depends_on_the_picture(family, seeing, folder_of, drive):
    shown, about = seeing(family), chat("look at ", A, " and say")
    expected_prompt, expected = by_mlx_vlm(folder_of(family), about, A)
    driver = drive(shown.model)
    asked = shown.ask("a", about)
    driver.run(asked, shown.ask("b", chat("look at ", B, " and say")))
    assert asked.prompt == expected_prompt
    assert driver.tokens("a") == expected
    assert driver.tokens("b") != expected


@with_two
def test_two_pictures_of_different_sizes_are_told_apart(family, seeing, folder_of, drive):
    wide = png(3, 72, 48)
    shown, about = seeing(family), chat("first ", A, " then ", wide, " now")
    shown.show(wide)
    expected_prompt, expected = by_mlx_vlm(folder_of(family), about, A, wide)
    driver = drive(shown.model)
    asked = shown.ask("two", about)
    driver.run(asked)
    assert asked.prompt == expected_prompt
    assert driver.tokens("two") == expected


def test_a_tokenizer_that_puts_something_before_words_does_so_here(folder_of, tmp_path, drive):
    """As those of older Llamas do, before every piece of text between two special tokens."""
    folder = shutil.copytree(folder_of("llava"), tmp_path / "llava")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Prepend", "prepend": "e"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    shown, about = Shown(load(str(folder), tmp_path)), chat("look at ", A, " and say")
    shown.show(A)
    expected_prompt, expected = by_mlx_vlm(folder, about, A)
    asked = shown.ask("a", about)
    assert asked.prompt == expected_prompt
    driver = drive(shown.model)
    driver.run(asked)
    assert driver.tokens("a") == expected


def alone(drive, shown, sequence):
    driver = drive(shown.model)
    driver.run(sequence)
    return driver.tokens(sequence.request)


@families
def test_a_batch_with_text_changes_nothing(family, seeing, drive):
    shown = seeing(family)
    chats = {
        "a": chat(A, "what is it"),
        "b": chat("say what this is: ", B),
        "both": chat(A, "or", B, "?"),
        "short": chat(B),
    }
    driver = drive(shown.model, slots=4)
    for name, about in chats.items():
        driver.batch.add(shown.ask(name, about, 9 + len(name)))
        driver.batch.add(ask(f"text-{name}", prompt(20 + 7 * len(name), len(name)), 14))
        driver.step()
    driver.run()
    for name, about in chats.items():
        assert driver.tokens(name) == alone(drive, shown, shown.ask("x", about, 9 + len(name)))
        plain = ask("y", prompt(20 + 7 * len(name), len(name)), 14)
        assert driver.tokens(f"text-{name}") == alone(drive, shown, plain)


@families
@pytest.mark.parametrize("keeps", [1 << 30, 0], ids=["kept", "read again"])
def test_an_answer_about_a_picture_that_was_paused_is_the_same(family, seeing, drive, keeps):
    shown, about = seeing(family), chat("what is ", A, "?")
    driver = drive(shown.model, slots=1, cache_bytes=keeps)
    driver.batch.add(shown.ask("paused", about, 20, priority="batch"))
    while len(driver.tokens("paused")) < 5:
        driver.step()
    driver.run(ask("other", prompt(30), 5))

    assert [name for name in driver.frames if driver.tokens(name)] == ["paused", "other"]
    assert driver.tokens("paused") == alone(drive, shown, shown.ask("x", about, 20))


@families
def test_an_answer_about_a_picture_that_another_engine_began_is_the_same(family, seeing, drive):
    shown, about = seeing(family), chat("what is ", A, "?")
    whole = alone(drive, shown, shown.ask("whole", about, 12))
    later = shown.ask("later", about, 12)
    go_on(later, Continuation(tokens=tuple(whole[:7])), shown.model)

    assert whole[:7] + alone(drive, shown, later) == whole


@families
def test_prompts_with_pictures_that_are_read_together_answer_as_alone(family, seeing, drive):
    shown = seeing(family)
    chats = {f"r{i}": chat("x" * i, A if i % 2 else B, "and so on") for i in range(6)}
    driver = drive(shown.model)
    driver.batch.warm()
    driver.batch._reader.pace.learn(10**6, 0, 1.0)
    driver.run(*(shown.ask(name, about) for name, about in chats.items()))
    for name, about in chats.items():
        assert driver.tokens(name) == alone(drive, shown, shown.ask("x", about))


@families
def test_chunks_may_end_in_the_middle_of_a_picture(family, seeing, drive, monkeypatch):
    shown = seeing(family)
    about = chat("a" * 30, A, "b" * 90, B, "and then " * 10)
    whole = alone(drive, shown, shown.ask("whole", about))
    monkeypatch.setattr(pace, "LARGEST", 16)
    monkeypatch.setattr(pace, "SMALLEST", 7)
    assert alone(drive, shown, shown.ask("chunked", about)) == whole


@families
def test_a_second_turn_finds_the_first_with_its_picture_in_the_cache(family, seeing, drive):
    shown, driver = seeing(family), drive(seeing(family).model)
    first = shown.ask("first", chat("look at ", A, " now"))
    driver.run(first)
    said = shown.model.tokenizer.decode(driver.tokens("first"))
    turns = (turn("look at ", A, " now"), turn(said, role="assistant"), turn("and ", B, "?"))
    second = shown.ask("second", type(chat())(turns=turns))
    driver.run(second)
    assert driver.last("second").usage.cached_tokens >= len(first.prompt)
    assert driver.tokens("second") == alone(drive, shown, shown.ask("x", type(chat())(turns=turns)))


@families
def test_another_picture_of_the_same_size_is_no_hit(family, seeing, drive):
    shown, driver = seeing(family), drive(seeing(family).model)
    driver.run(shown.ask("a", chat("look at ", A, " and say")))
    other = shown.ask("b", chat("look at ", B, " and say"))
    driver.run(other)
    before = int((other.sight.shown >= 0).argmax())
    assert driver.last("b").usage.cached_tokens <= before
    fresh = alone(drive, shown, shown.ask("x", chat("look at ", B, " and say")))
    assert driver.tokens("b") == fresh


@families
def test_a_cancelled_prompt_leaves_half_a_picture_that_the_next_one_uses(
    family, seeing, drive, monkeypatch
):
    shown = seeing(family)
    about = chat("x" * 10, A, "b" * 60, A, "c" * 20)
    expected = alone(drive, shown, shown.ask("x", about))
    monkeypatch.setattr(pace, "LARGEST", 23)
    monkeypatch.setattr(pace, "SMALLEST", 23)
    driver = drive(shown.model)
    driver.batch.add(shown.ask("gone", about))
    driver.step()
    driver.batch.cancel("gone")
    again = shown.ask("again", about)
    driver.run(again)
    assert driver.last("again").usage.cached_tokens == 23
    assert driver.tokens("again") == expected


@families
def test_penalties_logprobs_and_stops_work_beside_pictures(family, seeing, drive):
    from proto.generation import Sampling

    shown, about = seeing(family), chat("see ", A)
    plain = alone(drive, shown, shown.ask("x", about))
    driver = drive(shown.model)
    penalised = Sampling(temperature=0, repetition_penalty=1e6, presence_penalty=1.0)
    driver.run(
        shown.ask("logprobs", about, logprobs=3),
        shown.ask("penalty", about, sampling=penalised),
    )
    assert driver.tokens("logprobs") == plain
    assert all(len(delta.logprobs[0].top) == 3 for delta in driver.deltas("logprobs"))
    assert len(set(driver.tokens("penalty"))) == 12


def test_text_answers_of_a_model_that_sees_are_those_of_its_language_model(seeing, drive):
    shown = seeing("smolvlm")
    driver = drive(shown.model)
    tokens = prompt(30)
    driver.run(ask("a", tokens, 10))
    made = driver.tokens("a")
    with warnings.catch_warnings():
        logits = shown.model.model.inner.language_model(mx.array([tokens + made])).logits
    assert made == mx.argmax(logits[0, 29:-1], axis=-1).tolist()
