"""How much of anything a request may hold, in whatever dialect: far more than clients need, far
less than it takes to hold others up.
"""

import msgspec

from proto.dialects.asked import Asked, invalid
from proto.errors import MeshError
from proto.format import Format, Grammar, JsonSchema, Regex
from proto.generation import Sampling
from proto.prompt import Chat, Prompt, Turn

MOST_TURNS = 10_000
MOST_PARTS = 2_000
"""Of one turn, and as many calls."""
MOST_TOOLS = 1_024
LONGEST_SESSION = 512
MOST_STOPS = 64
LONGEST_STOP = 1_000
MOST_BIASES = 1_024
LONGEST_WORD = 256
"""Of those that are biased: each is tokenised."""
LARGEST_SCHEMA = 256 << 10
"""Bytes of JSON; also of what is said to a chat template."""
LONGEST_PATTERN = 32 << 10
LONGEST_GRAMMAR = 128 << 10


def expect_bounded(asked: Asked) -> None:
    """All but the prompts. Raises MeshError that names the field."""
    _expect_short("session_id", len(asked.session or ""), LONGEST_SESSION)
    _expect_stops(asked.stop)
    _expect_biases(asked.sampling)
    if asked.format is not None:
        _expect_format(asked.format)


def expect_bounded_prompt(prompt: Prompt) -> None:
    """Raises MeshError that names the field."""
    if not isinstance(prompt, Chat):
        return
    if len(prompt.turns) > MOST_TURNS:
        raise too_many("messages", len(prompt.turns), MOST_TURNS)
    for index, turn in enumerate(prompt.turns):
        _expect_turn(turn, f"messages[{index}]")
    if len(prompt.tools) > MOST_TOOLS:
        raise too_many("tools", len(prompt.tools), MOST_TOOLS)
    for index, tool in enumerate(prompt.tools):
        _expect_small(tool.parameters, f"tools[{index}]")
    _expect_small(prompt.template_options, "chat_template_kwargs")


def too_many(field: str, count: int, most: int) -> MeshError:
    return invalid(f"`{field}` has {count} entries, {most} are the most; send fewer.", field)


def _expect_turn(turn: Turn, field: str) -> None:
    if not isinstance(turn.content, str) and len(turn.content) > MOST_PARTS:
        raise too_many(f"{field}.content", len(turn.content), MOST_PARTS)
    if len(turn.calls) > MOST_PARTS:
        raise too_many(f"{field}.tool_calls", len(turn.calls), MOST_PARTS)


def _expect_stops(stops: tuple[str, ...]) -> None:
    if len(stops) > MOST_STOPS:
        raise too_many("stop", len(stops), MOST_STOPS)
    _expect_short("stop", max(map(len, stops), default=0), LONGEST_STOP)


def _expect_biases(sampling: Sampling) -> None:
    biases = len(sampling.logit_bias) + len(sampling.word_bias)
    if biases > MOST_BIASES:
        raise too_many("logit_bias", biases, MOST_BIASES)
    _expect_short("logit_bias", max(map(len, sampling.word_bias), default=0), LONGEST_WORD)


def _expect_format(wanted: Format) -> None:
    match wanted:
        case JsonSchema(schema=schema):
            _expect_small(schema, "response_format")
        case Regex(pattern=pattern):
            _expect_short("response_format", len(pattern), LONGEST_PATTERN)
        case Grammar(source=source):
            _expect_short("response_format", len(source), LONGEST_GRAMMAR)
        case _:
            return


def _expect_short(field: str, length: int, most: int) -> None:
    if length > most:
        raise invalid(f"`{field}` has {length} characters, {most} are the most; shorten it.", field)


def _expect_small(value: object, field: str) -> None:
    size = len(msgspec.json.encode(value)) if value else 0
    if size > LARGEST_SCHEMA:
        raise invalid(
            f"`{field}` takes {size} bytes of JSON, {LARGEST_SCHEMA} are the most; simplify it.",
            field,
        )
