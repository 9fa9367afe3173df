"""Lines that change with every request are kept out of prompts, and nothing else is."""

import pytest

from proto.prefix import prefixes_of
from proto.prompt import Chat, ImagePart, Text, TextPart, Turn
from services.gateway.volatile import steady
from tests.unit.gateway.scripted import MODEL

HI = [{"role": "user", "content": "Hi"}]


def billing(nonce: str) -> str:
    version = f"cc_version=2.1.175.{nonce}"
    return f"x-anthropic-billing-header: {version}; cc_entrypoint=cli; cch={nonce};"


def chat(system, user="Hi") -> Chat:
    return Chat(turns=(Turn(role="system", content=system), Turn(role="user", content=user)))


@pytest.mark.parametrize(
    ("system", "left"),
    [
        (f"{billing('a')}\nYou are.", "You are."),
        (f"You are.\n{billing('a')}\nBe.", "You are.\nBe."),
        (f"{billing('a')}\n{billing('b')}\nYou are.\n\n  Be. ", "You are.\n\n  Be. "),
        ((TextPart(text=f"{billing('a')}\nYou are."),), (TextPart(text="You are."),)),
    ],
)
def test_the_line_is_gone_and_the_rest_is_as_it_was(system, left):
    assert steady(chat(system)) == chat(left)


def test_a_system_prompt_of_nothing_else_is_gone():
    assert steady(chat(billing("a"))).turns == (Turn(role="user", content="Hi"),)


@pytest.mark.parametrize(
    "prompt",
    [
        chat("Today's date is 2026-03-09. It is 06:00:31."),
        chat(f"Drop a line such as `{billing('a')}`."),
        chat("You are.", user=f"{billing('a')}\nWhat is this?"),
        Text(text=billing("a")),
        chat((TextPart(text="a"), ImagePart(url="data:"))),
    ],
)
def test_what_means_something_stays(prompt):
    assert steady(prompt) is prompt


def test_prompts_that_differ_in_the_line_only_are_the_same_to_the_scheduler():
    one, other = (steady(chat(f"{billing(nonce)}\nYou are.")) for nonce in ("a1b2c", "ffffe"))

    assert prefixes_of(one) == prefixes_of(other)


def blocks(nonce: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": billing(nonce)}, {"type": "text", "text": "You are."}]


async def test_the_engine_never_sees_it_and_the_client_is_told(anthropic, scripted):
    raw = await anthropic.messages.with_raw_response.create(
        model=MODEL, max_tokens=9, messages=HI, system=blocks("a")
    )

    assert scripted.asked[0].prompt == chat("You are.")
    assert raw.headers["x-odyssai-ignored"] == "x-anthropic-billing-header"


async def test_it_is_recognised_in_the_other_dialect_as_well(openai, scripted):
    system = {"role": "system", "content": f"{billing('a')}\nYou are."}
    await openai.chat.completions.create(model=MODEL, messages=[system, *HI])

    assert scripted.asked[0].prompt == chat("You are.")


async def test_it_is_not_counted(anthropic, scripted):
    await anthropic.messages.count_tokens(model=MODEL, messages=HI, system=blocks("a"))

    assert scripted.counted[0].prompt == chat("You are.")


class TestKept:
    @pytest.fixture(autouse=True)
    def kept(self, monkeypatch: pytest.MonkeyPatch, free_port: None) -> None:
        monkeypatch.setenv("ODYSSAI_KEEP_VOLATILE_LINES", "1")

    async def test_it_stays_where_the_operator_wants_it(self, anthropic, scripted):
        raw = await anthropic.messages.with_raw_response.create(
            model=MODEL, max_tokens=9, messages=HI, system=blocks("a")
        )

        assert scripted.asked[0].prompt == chat(f"{billing('a')}\nYou are.")
        assert "x-odyssai-ignored" not in raw.headers
