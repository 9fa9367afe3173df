"""What a make of engine takes of a request over OpenAI's endpoints, and by what names.

Servers drop what they do not know without a word, and have defaults of their own for what is not
said. So what one of them takes is a table; what is not in it is refused by name, or done here; and
sampling is said in full, so that a request means the same wherever it runs.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.format import Format, Grammar, JsonObject, JsonSchema, Regex
from proto.generation import Generate, Sampling
from proto.prompt import Chat, Text, Thinking, Tokens
from services.cloud.openai.body import body

Said = dict[str, Any]
FormatTeller = Callable[[Any], Said]


def plain(*names: str) -> dict[str, str]:
    """Parameters that it calls as we do."""
    return {name: name for name in names}


class Manners(Struct, frozen=True, kw_only=True):
    title: str
    sampling: dict[str, str]
    """Our name of each parameter that it takes, and its own."""
    always: tuple[str, ...] = ("temperature", "top_p")
    """Said also where they are neutral, since its own defaults are not."""
    penalised: Said = {}
    """Said with any penalty, so that it reaches as far as ours."""
    formats: dict[type, FormatTeller] = {}
    """How each format is said that it keeps to."""
    top_logprobs: int | None = None
    """The most alternatives it reports; None: it reports no logprobs."""
    chooses_tools: bool = True
    """``tool_choice`` other than auto and none is kept to."""
    limits_calls: bool = True
    """``parallel_tool_calls: false`` is kept to."""
    template_options: str | None = "chat_template_kwargs"
    """Its name for what a chat template is given; None: nothing can be given to it."""
    thinking: Callable[[Thinking], Said] | None = None
    """How it is told whether and how to think; None: as OpenAI's servers are, by an effort."""
    stops: bool = True
    """False: stop strings are cut here."""
    reads_tokens: bool = False
    """Prompts and inputs of token ids are taken."""
    default_tokens: int | None = None
    """It ends answers early that have no limit, so they are given one: the model's context, or this
    where nobody knows it.
    """

    def told(self, request: Generate, model: str, context: int) -> tuple[str, Said]:
        """Path and body. Raises MeshError for what the engine would drop."""
        self._expect_honoured(request)
        bare = replace(
            request,
            prompt=self._bare(request),
            sampling=Sampling(),
            format=None,
            stop=request.stop if self.stops else (),
        )
        path, said = body(bare, model, "max_tokens")
        if request.max_tokens is None and self.default_tokens is not None:
            said["max_tokens"] = context or self.default_tokens
        if request.format is not None:
            said |= self.formats[type(request.format)](request.format)
        return path, said | self._sampling(request.sampling) | self._of_chat(request)

    def _bare(self, request: Generate) -> Any:
        """The prompt without what is said in another way."""
        prompt = request.prompt
        if not isinstance(prompt, Chat):
            return prompt
        if prompt.tool_choice.mode == "none" and not self.chooses_tools:
            prompt = replace(prompt, tools=())
        thinking = Thinking() if self.thinking else prompt.thinking
        return replace(prompt, template_options={}, thinking=thinking, continues_last=False)

    def _of_chat(self, request: Generate) -> Said:
        prompt = request.prompt
        if not isinstance(prompt, Chat):
            return {}
        said = self.thinking(prompt.thinking) if self.thinking else {}
        if prompt.template_options and self.template_options:
            own = said.get(self.template_options, {})
            said = said | {self.template_options: own | prompt.template_options}
        return said

    def _sampling(self, sampling: Sampling) -> Said:
        neutral = Sampling()
        said: Said = {}
        for ours, its in self.sampling.items():
            value = getattr(sampling, ours)
            if ours in self.always or value != getattr(neutral, ours):
                said[its] = {str(k): v for k, v in value.items()} if ours in BIASES else value
        is_penalised = any(getattr(sampling, name) != getattr(neutral, name) for name in PENALTIES)
        return said | (self.penalised if is_penalised else {})

    def _expect_honoured(self, request: Generate) -> None:
        neutral = Sampling()
        for name in Sampling.__struct_fields__:
            if name not in self.sampling and getattr(request.sampling, name) != getattr(
                neutral, name
            ):
                raise self.refused("logit_bias" if name in BIASES else name)
        if request.format is not None and type(request.format) not in self.formats:
            raise self.refused("response_format", f"no {_word(request.format)} is kept to")
        if request.logprobs is not None:
            self._expect_logprobs(request.logprobs)
        match request.prompt:
            case Chat() as chat:
                self._expect_chat(chat)
            case Tokens() if not self.reads_tokens:
                raise self.refused("prompt", "token ids are not read")
            case Text() | Tokens():
                pass

    def _expect_logprobs(self, alternatives: int) -> None:
        if self.top_logprobs is None:
            raise self.refused("logprobs")
        if alternatives > self.top_logprobs:
            raise self.refused("top_logprobs", f"{self.top_logprobs} are the most")

    def _expect_chat(self, chat: Chat) -> None:
        if chat.documents:
            raise self.refused("messages", "it reads no documents")
        choice = chat.tool_choice
        if choice.mode == "required" and not self.chooses_tools:
            raise self.refused("tool_choice")
        if chat.tools and not choice.parallel and not self.limits_calls:
            raise self.refused("parallel_tool_calls")
        if chat.template_options and self.template_options is None:
            raise self.refused("chat_template_kwargs")

    def refused(self, param: str, why: str = "it would be ignored") -> MeshError:
        message = f"`{param}`: {self.title} cannot honour it; {why}."
        return MeshError(Code.UNSUPPORTED_PARAMETER, message, param=param)


BIASES = ("logit_bias", "word_bias")
PENALTIES = ("presence_penalty", "frequency_penalty", "repetition_penalty")
OPENAI = plain("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")


def json_object(_: JsonObject) -> Said:
    return {"response_format": {"type": "json_object"}}


def any_object(_: JsonObject) -> Said:
    """For servers that know schemas only."""
    return json_schema(JsonSchema(schema={"type": "object"}))


def json_schema(wanted: JsonSchema) -> Said:
    schema = {"name": wanted.name or "answer", "schema": wanted.schema, "strict": wanted.strict}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def by_template(thinking: Thinking) -> Said:
    """As the templates of models that think have it, by the names that most of them use."""
    said: Said = {}
    if thinking.enabled is not None:
        said["enable_thinking"] = thinking.enabled
    if thinking.effort is not None:
        said["reasoning_effort"] = thinking.effort
        said.setdefault("enable_thinking", thinking.effort != "none")
    return {"chat_template_kwargs": said} if said else {}


def _word(wanted: Format) -> str:
    match wanted:
        case JsonObject():
            return "JSON object"
        case JsonSchema():
            return "JSON schema"
        case Regex():
            return "regular expression"
        case Grammar():
            return "grammar"
