"""OpenAI's endpoints."""

from proto.dialects import openai
from proto.dialects.asked import Answered, Asked
from proto.dialects.openai_answer import Heading, chat_completion, text_completion
from proto.dialects.openai_events import ChatEvents, TextEvents
from proto.errors import MeshError
from proto.ids import RequestId
from proto.telemetry import Dialect
from services.gateway.answering.wire import About, Events
from services.gateway.http.exchange import EVENT_STREAM


class OpenAi:
    """What all its endpoints share."""

    dialect: Dialect = "openai"
    stream_headers = EVENT_STREAM

    def refusal(self, error: MeshError, request: RequestId) -> bytes:
        return openai.envelope(error)


class ChatCompletions(OpenAi):
    endpoint = "/v1/chat/completions"

    def asked(self, body: bytes) -> Asked:
        return openai.asked_chat(body)

    def events(self, asked: Asked, about: About) -> Events:
        return ChatEvents(asked, _heading("chatcmpl-", "chat.completion.chunk", asked, about))

    def whole(self, asked: Asked, about: About, answers: list[Answered]) -> bytes:
        heading = _heading("chatcmpl-", "chat.completion", asked, about)
        return chat_completion(asked, heading, answers)


class Completions(OpenAi):
    endpoint = "/v1/completions"

    def asked(self, body: bytes) -> Asked:
        return openai.asked_completion(body)

    def events(self, asked: Asked, about: About) -> Events:
        return TextEvents(asked, _heading("cmpl-", "text_completion", asked, about))

    def whole(self, asked: Asked, about: About, answers: list[Answered]) -> bytes:
        heading = _heading("cmpl-", "text_completion", asked, about)
        return text_completion(asked, heading, answers)


def _heading(prefix: str, kind: str, asked: Asked, about: About) -> Heading:
    return Heading(prefix + about.request, kind, about.created, asked.name, about.fingerprint)
