"""Anthropic's endpoints."""

from proto.dialects import anthropic
from proto.dialects.anthropic_answer import message
from proto.dialects.anthropic_events import Events
from proto.dialects.asked import Answered, Asked
from proto.errors import MeshError
from proto.ids import RequestId
from proto.telemetry import Dialect
from services.gateway.answering.wire import About
from services.gateway.http.exchange import EVENT_STREAM


class Anthropic:
    """What both endpoints share."""

    dialect: Dialect = "anthropic"
    stream_headers = EVENT_STREAM

    def refusal(self, error: MeshError, request: RequestId) -> bytes:
        return anthropic.envelope(error, request)


class Messages(Anthropic):
    endpoint = "/v1/messages"

    def asked(self, body: bytes) -> Asked:
        return anthropic.asked_messages(body)

    def events(self, asked: Asked, about: About) -> Events:
        id = f"msg_{about.request}"
        return Events(id, asked.name, about.request, asked.shows_reasoning)

    def whole(self, asked: Asked, about: About, answers: list[Answered]) -> bytes:
        id = f"msg_{about.request}"
        return message(id, asked.name, answers[0], asked.shows_reasoning)
