"""What Ollama's clients send to /api/chat, /api/generate, /api/embed and /api/show.

The vendor reads past what it does not know, and so do these types. They hold what has
an effect here; whatever else a body has is named in ``Asked.ignored``.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import fields

from proto.dialects.asked import Asked, Name, NonEmpty, decode, invalid, unsupported
from proto.dialects.ollama_options import Options
from proto.dialects.ollama_turns import Message, content, turns
from proto.errors import MeshError
from proto.format import Format, JsonObject, JsonSchema
from proto.ids import ModelId
from proto.prompt import Chat, Prompt, Text, Thinking, Tool, Turn

MOST_INPUTS = 2048

Level = Literal["low", "medium", "high", "max"]

INSTEAD = {
    "format": 'say "json", or send the JSON schema itself',
    "think": "say true, false, low, medium, high or max",
}


class ToolFunction(Struct, kw_only=True):
    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolDefinition(Struct, kw_only=True):
    type: Literal["function"] = "function"
    function: ToolFunction

    def tool(self) -> Tool:
        function = self.function
        return Tool(
            name=function.name,
            description=function.description or "",
            parameters=function.parameters or {},
        )


class Generation(Struct, kw_only=True):
    """What /api/chat and /api/generate have in common. ``null`` is the same as leaving out."""

    model: Name
    """With or without a tag: ``tiny`` and ``tiny:latest`` are the same."""
    stream: bool | None = None
    """Default: true."""
    format: Literal["", "json"] | dict[str, Any] | None = None
    """``json``, or the JSON schema that the content must satisfy."""
    options: Options | None = None
    think: bool | Level | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    def _asked(self, prompt: Prompt, ignored: tuple[str, ...]) -> Asked:
        options = self.options or Options()
        return Asked(
            model=ModelId(self.model),
            prompts=(prompt,),
            sampling=options.sampling(),
            given=options.given(),
            max_tokens=options.most_tokens(),
            stop=tuple(filter(None, options.stop or ())),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            format=self._format(),
            stream=self.stream is not False,
            include_usage=True,
            ignored=ignored,
        )

    def _format(self) -> Format | None:
        if isinstance(self.format, dict):
            return JsonSchema(schema=self.format)
        return JsonObject() if self.format else None

    def _thinking(self) -> Thinking:
        if self.think is None or isinstance(self.think, bool):
            return Thinking(enabled=self.think)
        return Thinking(enabled=True, effort="xhigh" if self.think == "max" else self.think)


class ChatRequest(Generation, kw_only=True):
    """POST /api/chat. Without messages nothing is generated: clients ask so whether it is there."""

    messages: list[Message] | None = None
    """When the last one is the assistant's, the answer goes on from its end."""
    tools: list[ToolDefinition] | None = None

    def asked(self, ignored: tuple[str, ...] = ()) -> Asked:
        """Raises MeshError when there is nothing to answer."""
        if not self.messages:
            raise invalid("`messages` is empty; add at least one.", "messages")
        last = self.messages[-1]
        chat = Chat(
            turns=turns(self.messages),
            continues_last=last.role == "assistant" and not last.tool_calls,
            tools=tuple(tool.tool() for tool in self.tools or ()),
            thinking=self._thinking(),
        )
        return self._asked(chat, ignored)


class GenerateRequest(Generation, kw_only=True):
    """POST /api/generate. Without a prompt nothing is generated, as in a chat without messages."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    """The prompt is taken as it stands, outside of the model's template."""
    images: list[NonEmpty] | None = None
    """Base64."""
    template: str | None = None
    suffix: str | None = None

    def asked(self, ignored: tuple[str, ...] = ()) -> Asked:
        """Raises MeshError where fields contradict one another or cannot be honoured."""
        if not self.prompt:
            raise invalid("`prompt` is empty; add some text.", "prompt")
        if self.suffix:
            raise unsupported("suffix", f'"{self.model}" does not support insert; leave it out')
        if self.template:
            raise unsupported(
                "template", "the model's own is used; leave it out, or send a `raw` prompt"
            )
        return self._asked(self._raw() if self.raw else self._chat(), ignored)

    def _raw(self) -> Text:
        for name in ("system", "images", "think"):
            if getattr(self, name):
                raise invalid(f"`raw` leaves no place for `{name}`; leave one of both out.", name)
        return Text(text=self.prompt or "")

    def _chat(self) -> Chat:
        said = [Turn(role="system", content=self.system)] if self.system else []
        said.append(Turn(role="user", content=content(self.prompt or "", self.images)))
        return Chat(turns=tuple(said), thinking=self._thinking())


class EmbedRequest(Struct, kw_only=True):
    """POST /api/embed."""

    model: Name
    input: str | Annotated[list[str], Meta(max_length=MOST_INPUTS)] | None = None
    dimensions: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    """Zero: all of them."""
    truncate: bool | None = None
    """Unless it is false, what is longer than the model reads is cut."""

    @property
    def texts(self) -> list[str]:
        if isinstance(self.input, str):
            return [self.input] if self.input else []
        return self.input or []


class EmbeddingsRequest(Struct, kw_only=True):
    """POST /api/embeddings, the older form for one text."""

    model: Name
    prompt: str | None = None


class NamedModel(Struct, kw_only=True):
    """A body that names a model, by the newer or the older name of the field."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None

    @property
    def wanted(self) -> str:
        """Raises MeshError when neither is there."""
        if not (self.model or self.name):
            raise invalid("`model` is required; add it.", "model")
        return self.model or self.name or ""


_CHAT = msgspec.json.Decoder(ChatRequest)
_GENERATE = msgspec.json.Decoder(GenerateRequest)
_EMBED = msgspec.json.Decoder(EmbedRequest)
_EMBEDDINGS = msgspec.json.Decoder(EmbeddingsRequest)
_NAMED = msgspec.json.Decoder(NamedModel)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def asked_chat(body: bytes) -> Asked:
    """Raises MeshError."""
    return decode(_CHAT, body, INSTEAD).asked(_without_effect(ChatRequest, body))


def asked_generate(body: bytes) -> Asked:
    """Raises MeshError."""
    return decode(_GENERATE, body, INSTEAD).asked(_without_effect(GenerateRequest, body))


def asked_embed(body: bytes) -> EmbedRequest:
    """Raises MeshError."""
    return decode(_EMBED, body, {})


def asked_embeddings(body: bytes) -> EmbeddingsRequest:
    """Raises MeshError."""
    return decode(_EMBEDDINGS, body, {})


def named(body: bytes) -> NamedModel:
    """Raises MeshError."""
    return decode(_NAMED, body, {})


def _without_effect(known: type[Struct], body: bytes) -> tuple[str, ...]:
    """The fields and options in a body that nothing here makes use of."""
    sent = decode(_FIELDS, body, {})
    names = _beyond(known, sent)
    if bytes(sent.get("options", b"null")) != b"null":
        options = decode(_FIELDS, bytes(sent["options"]), {})
        names += [f"options.{name}" for name in _beyond(Options, options)]
    return tuple(names)


def _beyond(known: type[Struct], sent: dict[str, msgspec.Raw]) -> list[str]:
    there = {field.encode_name for field in fields(known)}
    return [name for name, value in sent.items() if name not in there and bytes(value) != b"null"]


class Empty(Struct, kw_only=True):
    """What of a body tells that nothing is to be generated."""

    model: Name
    messages: list[msgspec.Raw] | None = None
    prompt: str | None = None
    keep_alive: float | str | None = None

    @property
    def unloads(self) -> bool:
        """The client wants the model's memory back; how long models stay is the mesh's matter."""
        given = self.keep_alive
        return given is not None and not str(given).strip("0.smhµnu")


_EMPTY = msgspec.json.Decoder(Empty)


def empty(body: bytes) -> Empty | None:
    """A request without messages and prompt, by which clients load a model or unload it."""
    try:
        found = _EMPTY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None if found.messages or found.prompt else found


class ErrorBody(Struct, frozen=True):
    """What every refusal looks like in this dialect."""

    error: str


def envelope(error: MeshError) -> bytes:
    return msgspec.json.encode(ErrorBody(error.message))
