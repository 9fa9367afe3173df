"""What an agent does all day, through a whole mesh: think, call a tool, read what it returned."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import beta_tool

from tests.mesh.house import Mesh
from tests.parrot import script

SPOKEN = (
    "<think>\nThe sea, then.\n</think>\n\nI look."
    '<tool_call>\n{"name": "look", "arguments": {"at": "sea"}}\n</tool_call>'
)
LOOK: Any = {
    "name": "look",
    "description": "Look somewhere.",
    "input_schema": {
        "type": "object",
        "properties": {"at": {"type": "string"}},
        "required": ["at"],
    },
}
ASKED: Any = {
    "model": "parrot",
    "max_tokens": 2000,
    "tools": [LOOK],
    "messages": [{"role": "user", "content": script(SPOKEN)}],
}


@pytest.fixture
def claude(parrots: Mesh) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=parrots.url, api_key="none", max_retries=0) as client:
        yield client


def test_thinking_words_and_a_call_are_told_apart(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(**ASKED)
    with claude.messages.stream(**ASKED) as stream:
        streamed = stream.get_final_message()

    thinking, text, use = whole.content
    assert (thinking.type, text.type, use.type) == ("thinking", "text", "tool_use")
    assert (thinking.thinking.strip(), text.text.strip()) == ("The sea, then.", "I look.")
    assert (use.name, use.input) == ("look", {"at": "sea"})
    assert whole.stop_reason == streamed.stop_reason == "tool_use"
    assert [b.type for b in streamed.content] == [b.type for b in whole.content]
    assert streamed.content[2].input == use.input  # type: ignore[union-attr]
    details = whole.usage.output_tokens_details
    assert details
    assert 0 < details.thinking_tokens < whole.usage.output_tokens


def test_a_tool_runner_goes_on_until_the_answer(claude: anthropic.Anthropic) -> None:
    looked = []

    @beta_tool
    def look(at: str) -> str:
        """Look somewhere.

        Args:
            at: Where.
        """
        looked.append(at)
        return script("<think>\n\n</think>\n\nIt is blue.")

    rest: Any = {name: ASKED[name] for name in ("model", "max_tokens", "messages")}
    final = claude.beta.messages.tool_runner(**rest, tools=[look]).until_done()

    assert looked == ["sea"]
    assert final.stop_reason == "end_turn"
    assert "It is blue." in "".join(b.text for b in final.content if b.type == "text")


def test_the_next_step_finds_all_of_the_last_one_in_the_cache(
    claude: anthropic.Anthropic,
) -> None:
    first = claude.messages.create(**ASKED)
    result: Any = {
        "type": "tool_result",
        "tool_use_id": first.content[2].id,  # type: ignore[union-attr]
        "content": script("Blue."),
    }
    history = [*ASKED["messages"], first.to_param(), {"role": "user", "content": [result]}]
    second = claude.messages.create(**ASKED | {"messages": history})

    prompt = first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0)
    read = second.usage.cache_read_input_tokens or 0
    # The prompt as far as the answer's first word; what the template writes anew may differ.
    assert read >= prompt - 1


def test_a_model_can_be_made_to_call(claude: anthropic.Anthropic) -> None:
    reluctant = ASKED | {"messages": [{"role": "user", "content": "I would rather not."}]}
    message = claude.messages.create(
        **reluctant, tool_choice={"type": "tool", "name": "look"}, thinking={"type": "disabled"}
    )

    (use,) = (block for block in message.content if block.type == "tool_use")
    assert use.name == "look"


def test_tools_are_counted(claude: anthropic.Anthropic) -> None:
    asked: Any = {name: ASKED[name] for name in ("model", "messages", "tools")}
    plain: Any = {name: ASKED[name] for name in ("model", "messages")}
    counted = claude.messages.count_tokens(**asked).input_tokens
    usage = claude.messages.create(**ASKED).usage

    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert counted > claude.messages.count_tokens(**plain).input_tokens
