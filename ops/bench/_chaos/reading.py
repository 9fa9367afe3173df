"""Reading an answer's events, or its whole body, in each dialect."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ops.bench._chaos.answer import CONTENT, REASONING, Answer, Dialect, Failure

Say = Callable[[str, str], None]
"""Hears each piece, with its channel, before it is added."""


class Reading(ABC):
    """Of one answer."""

    def __init__(self, hear: Say) -> None:
        self.answer = Answer()
        self._hear = hear

    @abstractmethod
    def event(self, event: Any) -> None:
        """The next of a stream. Raises Failure."""

    @abstractmethod
    def whole(self, body: Any) -> None:
        """All of an answer that is not streamed. Raises Failure."""

    def done(self) -> None:
        """The stream's last word, which is no event, was there."""
        self.answer.is_whole = True

    def say(self, channel: str, piece: str) -> None:
        self._hear(channel, piece)
        said = self.answer.said
        said[channel] = said.get(channel, "") + piece

    def name(self, channel: str, name: str) -> None:
        self.answer.names[channel] = self.answer.names.get(channel, "") + name

    def end(self, finish: str, prompt_tokens: int, completion_tokens: int) -> None:
        answer = self.answer
        answer.ends += 1
        answer.finish = finish
        answer.prompt_tokens, answer.completion_tokens = prompt_tokens, completion_tokens


class ChatReading(Reading):
    """OpenAI's chat completions."""

    def event(self, event: Any) -> None:
        if "error" in event:
            raise Failure(200, str(event["error"]))
        self.answer.id = event["id"]
        for choice in event["choices"]:
            self._said(choice["delta"])
            self._finish(choice)
        if event.get("usage"):
            self._usage(event["usage"])

    def whole(self, body: Any) -> None:
        self.answer.id = body["id"]
        (choice,) = body["choices"]
        self._said(choice["message"])
        self._finish(choice)
        self._usage(body["usage"])
        self.answer.is_whole = True

    def _said(self, said: Any) -> None:
        for field, channel in (("reasoning_content", REASONING), ("content", CONTENT)):
            if said.get(field):
                self.say(channel, said[field])
        for place, call in enumerate(said.get("tool_calls") or ()):
            channel = f"call {call.get('index', place)}"
            if call["function"].get("name"):
                self.name(channel, call["function"]["name"])
            self.say(channel, call["function"]["arguments"])

    def _finish(self, choice: Any) -> None:
        tokens = (choice.get("logprobs") or {}).get("content") or ()
        self.answer.logprobs += [(token["token"], token["logprob"]) for token in tokens]
        self.answer.finish = choice["finish_reason"] or self.answer.finish

    def _usage(self, usage: Any) -> None:
        self.end(self.answer.finish, usage["prompt_tokens"], usage["completion_tokens"])


class MessagesReading(Reading):
    """Anthropic's messages."""

    def __init__(self, hear: Say) -> None:
        super().__init__(hear)
        self._blocks: list[str] = []
        self._reason = ""

    def event(self, event: Any) -> None:
        kind = event["type"]
        if kind == "content_block_delta":
            self._delta(event["delta"])
        elif kind == "content_block_start":
            self._block(event["content_block"])
        elif kind == "message_start":
            self.answer.id = event["message"]["id"]
        elif kind == "message_delta":
            self._usage(event["delta"]["stop_reason"], event["usage"])
        elif kind == "message_stop":
            self.answer.is_whole = True
        elif kind == "error":
            raise Failure(200, str(event["error"]))

    def whole(self, body: Any) -> None:
        self.answer.id = body["id"]
        for block in body["content"]:
            channel = self._block(block)
            self.say(channel, str(block.get("input") or block.get("text") or block.get("thinking")))
        self._usage(body["stop_reason"], body["usage"])
        self.answer.is_whole = True

    def _delta(self, delta: Any) -> None:
        for field in ("text", "thinking", "partial_json"):
            if field in delta:
                self.say(self._blocks[-1], delta[field])

    def _block(self, block: Any) -> str:
        """The channel of a block that begins."""
        calls = sum(channel.startswith("call") for channel in self._blocks)
        channel = {"text": CONTENT, "thinking": REASONING}.get(block["type"], f"call {calls}")
        self._blocks.append(channel)
        if block["type"] == "tool_use":
            self.name(channel, block["name"])
        return channel

    def _usage(self, reason: str, usage: Any) -> None:
        cached = usage.get("cache_read_input_tokens") or 0
        self.end(reason, usage["input_tokens"] + cached, usage["output_tokens"])


class ResponsesReading(Reading):
    """OpenAI's Responses."""

    def __init__(self, hear: Say) -> None:
        super().__init__(hear)
        self._calls: dict[int, str] = {}

    def event(self, event: Any) -> None:
        kind = event["type"]
        if kind == "response.output_text.delta":
            self.say(CONTENT, event["delta"])
        elif kind == "response.function_call_arguments.delta":
            self.say(self._calls[event["output_index"]], event["delta"])
        elif kind == "response.output_item.added":
            self._item(event["output_index"], event["item"])
        elif kind == "response.created":
            self.answer.id = event["response"]["id"]
        elif kind in ("response.completed", "response.incomplete"):
            self._over(event["response"])
        elif kind in ("response.failed", "error"):
            raise Failure(200, str(event.get("response", event)))

    def whole(self, body: Any) -> None:
        if body["status"] == "failed":
            raise Failure(200, str(body["error"]))
        for index, item in enumerate(body["output"]):
            self._item(index, item)
            if item["type"] == "function_call":
                self.say(self._calls[index], item["arguments"])
            for part in item.get("content") or ():
                self.say(CONTENT, part["text"])
        self._over(body)

    def _item(self, index: int, item: Any) -> None:
        if item["type"] == "function_call":
            self._calls[index] = channel = f"call {len(self._calls)}"
            self.name(channel, item["name"])

    def _over(self, response: Any) -> None:
        self.answer.id = response["id"]
        reason = (response.get("incomplete_details") or {}).get("reason")
        usage = response["usage"]
        self.end(reason or response["status"], usage["input_tokens"], usage["output_tokens"])
        self.answer.is_whole = True


READINGS: dict[Dialect, type[Reading]] = {
    "chat": ChatReading,
    "messages": MessagesReading,
    "responses": ResponsesReading,
}
PATHS: dict[Dialect, str] = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}
