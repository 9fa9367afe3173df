"""What clients say: talks of every kind, the same for the same seed.

A talk is one exchange or several; a later one may be made of what was answered before, in the
undisturbed run, so that its bytes are the same whenever it is said.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.bench._chaos.answer import CONTENT, Answer, Dialect
from ops.bench._models import text

Body = dict[str, Any]
Make = Callable[[Sequence[Answer]], Body]

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green", "blue", "ultramarine", "vermilion"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99999},
        "note": {"type": "string", "maxLength": 60},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 5},
    },
    "required": ["colour", "count", "note", "tags"],
    "additionalProperties": False,
}
TOOL = {"name": "note_down", "description": "Notes something down."}


@dataclass(frozen=True)
class Turn:
    """One exchange of a talk."""

    dialect: Dialect
    make: Make
    headers: dict[str, str] = field(default_factory=dict)
    follows: bool = False
    """It names the response before it, whose id is another each time."""
    is_repeatable: bool = False
    """It has an idempotency key, another each time that the talk is had."""


@dataclass(frozen=True)
class Talk:
    name: str
    turns: tuple[Turn, ...]
    is_upstream: bool = False
    """It goes to the server behind the cloud service, which nobody can continue."""


class Writer:
    """Writes one talk of each kind; what differs between two of a kind comes from ``rng``."""

    def __init__(self, model: str, rng: random.Random, number: int) -> None:
        self._model = model
        self._rng = rng
        self._number = number

    def _words(self, fewest: int = 4, most: int = 40) -> str:
        mark = f"{self._number}-{self._rng.random()}"
        return text(mark, self._rng.randint(fewest, most))

    def _chat(self, content: str, tokens: tuple[int, int] = (60, 240), **more: Any) -> Body:
        usual = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": self._rng.randint(*tokens),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return {**usual, **more}

    def _one(self, dialect: Dialect, body: Body, **more: Any) -> tuple[Turn, ...]:
        return (Turn(dialect, lambda _: body, **more),)

    # OpenAI's chat

    def plain(self) -> tuple[Turn, ...]:
        return self._one("chat", self._chat(self._words()))

    def seeded(self) -> tuple[Turn, ...]:
        seed = self._rng.randrange(1 << 30)
        body = self._chat(self._words(), temperature=1, top_p=0.95, seed=seed)
        return self._one("chat", body)

    def penalised(self) -> tuple[Turn, ...]:
        seed = self._rng.randrange(1 << 30)
        more: Body = {"presence_penalty": 0.7, "frequency_penalty": 0.3}
        return self._one("chat", self._chat(self._words(), temperature=0.8, seed=seed, **more))

    def json_schema(self) -> tuple[Turn, ...]:
        held = {"type": "json_schema", "json_schema": {"name": "note", "schema": SCHEMA}}
        return self._one("chat", self._chat(self._words(), (200, 300), response_format=held))

    def tools(self) -> tuple[Turn, ...]:
        function = {**TOOL, "parameters": SCHEMA, "strict": True}
        tools = [{"type": "function", "function": function}]
        more = {"tools": tools, "tool_choice": "required"}
        return self._one("chat", self._chat(self._words(), (250, 350), **more))

    def logprobs(self) -> tuple[Turn, ...]:
        more = {"logprobs": True, "top_logprobs": 2}
        return self._one("chat", self._chat(self._words(), (60, 120), **more))

    def long_prompt(self) -> tuple[Turn, ...]:
        return self._one("chat", self._chat(self._words(500, 900), (20, 80)))

    def stopped(self) -> tuple[Turn, ...]:
        """The second time it stops at words from the middle of the first answer."""
        body = self._chat(self._words(), (150, 240))

        def stop_midway(answers: Sequence[Answer]) -> Body:
            said = answers[0].said[CONTENT]
            at = 2 * len(said) // 3
            return {**body, "stop": [said[at : at + 6], "never said"]}

        return (Turn("chat", lambda _: body), Turn("chat", stop_midway))

    def session(self) -> tuple[Turn, ...]:
        """Three questions, each with all that was said before."""
        headers = {"X-Session-Id": f"chaos-{self._number}"}
        questions = [self._words() for _ in range(3)]
        tokens = [self._rng.randint(40, 120) for _ in questions]

        def make(turn: int) -> Make:
            def body(answers: Sequence[Answer]) -> Body:
                messages = []
                for question, answer in zip(questions[:turn], answers, strict=False):
                    said = answer.said.get(CONTENT, "")
                    messages.append({"role": "user", "content": question})
                    messages.append({"role": "assistant", "content": said})
                messages.append({"role": "user", "content": questions[turn]})
                return self._chat("", messages=messages, max_tokens=tokens[turn])

            return body

        return tuple(Turn("chat", make(turn), headers) for turn in range(3))

    def whole(self) -> tuple[Turn, ...]:
        body = self._chat(self._words(), stream=False)
        del body["stream_options"]
        return self._one("chat", body, is_repeatable=True)

    # Anthropic's messages

    def message(self) -> tuple[Turn, ...]:
        return self._one("messages", self._message())

    def message_tools(self) -> tuple[Turn, ...]:
        tools = [{**TOOL, "input_schema": SCHEMA, "strict": True}]
        body = self._message((250, 350), tools=tools, tool_choice={"type": "any"})
        return self._one("messages", body)

    def message_whole(self) -> tuple[Turn, ...]:
        return self._one("messages", self._message(stream=False), is_repeatable=True)

    def _message(self, tokens: tuple[int, int] = (60, 240), **more: Any) -> Body:
        body = self._chat(self._words(), tokens, **more)
        del body["stream_options"]
        return body

    # OpenAI's responses

    def response(self) -> tuple[Turn, ...]:
        """Two, of which the second goes on from the first."""
        first, second = self._response(), self._response()
        return (
            Turn("responses", lambda _: first),
            Turn("responses", lambda _: second, follows=True),
        )

    def response_whole(self) -> tuple[Turn, ...]:
        return self._one("responses", self._response(stream=False, store=False), is_repeatable=True)

    def _response(self, **more: Any) -> Body:
        usual = {
            "model": self._model,
            "input": self._words(),
            "temperature": 0,
            "max_output_tokens": self._rng.randint(60, 200),
            "stream": True,
        }
        return {**usual, **more}


KINDS: tuple[Callable[[Writer], tuple[Turn, ...]], ...] = (
    Writer.plain,
    Writer.seeded,
    Writer.penalised,
    Writer.json_schema,
    Writer.tools,
    Writer.logprobs,
    Writer.long_prompt,
    Writer.stopped,
    Writer.session,
    Writer.whole,
    Writer.message,
    Writer.message_tools,
    Writer.message_whole,
    Writer.response,
    Writer.response_whole,
)


def talks(seed: int, of_each: int, model: str, upstream_model: str) -> list[Talk]:
    """So many of each kind, and as many plain ones for the upstream."""
    rng = random.Random(seed)
    made: list[Talk] = []
    for number in range(of_each):
        for kind in KINDS:
            writer = Writer(model, rng, len(made))
            made.append(Talk(f"{kind.__name__}-{number}", kind(writer)))
        writer = Writer(upstream_model, rng, len(made))
        made.append(Talk(f"upstream-{number}", writer.plain(), is_upstream=True))
    return made
