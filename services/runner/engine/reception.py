"""From what was asked for to a sequence that a batch can run.

All that only the model can tell is told here, beside the event loop where it
takes long: tokens, thinking, calls, formats. What cannot be is refused.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from proto.errors import Code, MeshError
from proto.format import Format
from proto.generation import Generate, Sampling
from proto.ids import GatewayId
from proto.prompt import Chat, Prompt, Text, Tokens, Tool, ToolChoice
from proto.tokenization import Detokenize, Detokenized, Tokenize, Tokenized
from services.runner.engine.answer.markup import markup_of
from services.runner.engine.answer.splitting import NORMAL
from services.runner.engine.batching import sampling
from services.runner.engine.batching.continuing import go_on
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.calls.family import family_of
from services.runner.engine.constraints.grammars import Grammars
from services.runner.engine.constraints.guide import Rules
from services.runner.engine.constraints.outline import Outline
from services.runner.engine.constraints.thinking import Resolved, Thinking
from services.runner.engine.constraints.trial import Trial
from services.runner.engine.loading import LoadedModel
from services.runner.engine.prompts.opening import Openings
from services.runner.engine.prompts.prompt import room, tokens_and_sight, tokens_of
from services.runner.engine.prompts.readable import readable
from services.runner.engine.vision.album import Album
from services.runner.engine.vision.sight import Sight

log = logging.getLogger(__name__)

INLINE_CHARS = 20_000
"""A longer prompt is tokenised beside the event loop."""
COMPILERS = 4
"""Grammars that are compiled, or wait for it, beside everything else."""
SLOW_S = 0.05
"""A prompt that took longer held up everybody's frames."""
_SILENT = Resolved(False, None, {})


@dataclass(frozen=True)
class Wanted:
    """What the answer to a request may, must or must not hold."""

    format: Format | None
    choice: ToolChoice
    tools: tuple[Tool, ...]
    """Those that may be called."""
    prefill: str | None
    """What the answer continues."""

    @classmethod
    def of(cls, asked: Generate) -> "Wanted":
        """Raises MeshError."""
        if not isinstance(asked.prompt, Chat):
            return cls(asked.format, ToolChoice(), (), None)
        chat = asked.prompt
        prefill = chat.turns[-1].text if chat.continues_last else None
        return cls(asked.format, chat.tool_choice, _callable(chat), prefill)

    @property
    def must_call(self) -> bool:
        return self.choice.mode == "required"

    @property
    def content(self) -> Format | None:
        """What content must look like, where there may be any."""
        return None if self.must_call else self.format

    @property
    def prescribes_calls(self) -> bool:
        """Calls are held to a grammar; else the model makes them as it can."""
        is_choosy = self.must_call or bool(self.choice.allowed) or self.format is not None
        return bool(self.tools) and (is_choosy or any(tool.strict for tool in self.tools))

    @property
    def needs_grammar(self) -> bool:
        return self.content is not None or self.prescribes_calls


def _callable(chat: Chat) -> tuple[Tool, ...]:
    choice, names = chat.tool_choice, {tool.name for tool in chat.tools}
    unknown = sorted(set(choice.allowed) - names)
    if unknown or (choice.mode == "required" and not names):
        raise MeshError(
            Code.INVALID_REQUEST,
            f"tool_choice asks for a call of {unknown[0] if unknown else 'a tool'}, "
            "which is not among the request's tools",
            param="tool_choice",
        )
    if choice.mode == "none":
        return ()
    return tuple(tool for tool in chat.tools if not choice.allowed or tool.name in choice.allowed)


class Reception:
    """One model's requests as they arrive."""

    def __init__(
        self,
        model: LoadedModel,
        album: Album | None = None,
        made_for: int | None = None,
        trial: Trial | None = None,
    ) -> None:
        """``album`` has the pictures, for a model that sees. ``made_for`` is the context that the
        model could have, where its card tells the one that it was granted. ``trial`` is where
        formats are compiled first.
        """
        self._model = model
        self._made_for = made_for or model.card.context_length
        self._album = album
        self._family = family_of(model.tokenizer)
        self._markup = markup_of(model.tokenizer, self._family)
        self._opening = self._marker(self._markup.opening)
        self._closing = self._marker(self._markup.closing)
        self._thinking = Thinking(
            model.tokenizer, reasons=self._markup.reasons, efforts=self._markup.efforts
        )
        self._grammars = Grammars(model, self._family, trial)
        # Of its own: whatever else is done beside the event loop must not wait for a grammar.
        self._compilers = ThreadPoolExecutor(COMPILERS, "grammar")
        self._openings = Openings(model)
        self._is_slow = False
        self._keeps_formats = model.card.keeps_formats

    def _marker(self, text: str) -> tuple[int, ...]:
        return tuple(self._model.tokenizer.encode(text, add_special_tokens=False)) if text else ()

    async def prepare(self) -> bool:
        """Makes ready what a first grammar needs; false if there can be none."""
        try:
            await asyncio.to_thread(lambda: self._grammars.tokenizer)
        except Exception:
            log.exception("formats cannot be kept: llguidance does not read the vocabulary")
            self._keeps_formats = False
        return self._keeps_formats

    async def tokens(self, prompt: Prompt, gateway: GatewayId | None = None) -> list[int]:
        """``gateway`` gives out the prompt's pictures. Raises MeshError."""
        prompt = readable(prompt, self._model.card.id)
        tokens, _ = await self._read(prompt, self._resolved(prompt), gateway)
        return tokens

    async def receive(self, asked: Generate) -> Sequence:
        """Raises MeshError."""
        asked = msgspec.structs.replace(asked, prompt=readable(asked.prompt, self._model.card.id))
        thinking = self._resolved(asked.prompt)
        tokens, sight = await self._read(asked.prompt, thinking, asked.gateway)
        asked = msgspec.structs.replace(asked, sampling=self._chosen(asked.sampling))
        sampling.check(asked.sampling, self._model.vocab_size)
        context = self._model.card.context_length
        granted = room(len(tokens), asked.max_tokens, context, self._made_for)
        wanted = Wanted.of(asked)
        outline = self._marked(asked, tokens, wanted)
        rules = self._rules(outline, thinking, granted)
        if wanted.needs_grammar:
            self._refuse_unless_possible(wanted)
            loop = asyncio.get_running_loop()
            constrained = partial(self._constrained, rules, wanted)
            rules = await loop.run_in_executor(self._compilers, constrained)
            outline = replace(outline, tokenizer=self._grammars.tokenizer)
        outline = replace(outline, rules=rules if rules.do_matter else None)
        common = await self._common(asked, tokens, thinking)
        sequence = Sequence.of(asked, tokens, granted, outline, sight, common)
        if asked.continues is not None:
            await asyncio.to_thread(go_on, sequence, asked.continues, self._model)
        return sequence

    async def tokenize(self, asked: Tokenize) -> Tokenized:
        """Raises MeshError."""
        prompt = asked.prompt
        if isinstance(prompt, Text) and not asked.with_specials:
            tokens = list(self._model.tokenizer.encode(prompt.text, add_special_tokens=False))
        else:
            tokens = await self.tokens(prompt, asked.gateway)
        pieces = self._model.pieces
        return Tokenized(tokens=tuple(tokens), pieces=tuple(pieces[token] for token in tokens))

    async def detokenize(self, asked: Detokenize) -> Detokenized:
        """Raises MeshError."""
        stranger = next((t for t in asked.tokens if not 0 <= t < self._model.vocab_size), None)
        if stranger is not None:
            raise MeshError(
                Code.INVALID_REQUEST,
                f"token {stranger} is not among the model's {self._model.vocab_size}",
                param="tokens",
            )
        return Detokenized(text=str(self._model.tokenizer.decode(list(asked.tokens))))

    def _resolved(self, prompt: Prompt) -> Resolved:
        return self._thinking.resolve(prompt) if isinstance(prompt, Chat) else _SILENT

    async def _read(
        self, prompt: Prompt, thinking: Resolved, gateway: GatewayId | None
    ) -> tuple[list[int], Sight | None]:
        """A prompt's tokens, and where its pictures are among them."""
        if self._album is None or not isinstance(prompt, Chat) or not prompt.images:
            return await self._tokens(prompt, thinking), None
        if gateway is None:
            raise MeshError(Code.INTERNAL, "nobody is named who gives the pictures out")
        pictures = await self._album.pictures(prompt, gateway)
        arguments = thinking.template_arguments
        return await asyncio.to_thread(tokens_and_sight, prompt, pictures, self._model, arguments)

    async def _tokens(self, prompt: Prompt, thinking: Resolved) -> list[int]:
        arguments = thinking.template_arguments
        if _size(prompt) <= INLINE_CHARS and not self._is_slow:
            began = time.monotonic()
            try:
                return tokens_of(prompt, self._model, arguments)
            finally:
                # Templates and tokenizers are the model's own: one that took long may do so again.
                self._is_slow = time.monotonic() - began > SLOW_S
        return await asyncio.to_thread(tokens_of, prompt, self._model, arguments)

    async def _common(self, asked: Generate, tokens: list[int], thinking: Resolved) -> int:
        """How many of a prompt's tokens are everybody's."""
        if not asked.privacy.owner or not asked.privacy.shares_system:
            return 0
        return await self._openings.common(asked.prompt, tokens, thinking.template_arguments)

    def _chosen(self, asked: Sampling) -> Sampling:
        """Words that are biased become tokens that are."""
        if not asked.word_bias:
            return asked
        bias = dict(asked.logit_bias)
        for word, value in asked.word_bias.items():
            for token in self._model.tokenizer.encode(word, add_special_tokens=False):
                bias[token] = bias.get(token, 0.0) + value
        return msgspec.structs.replace(asked, logit_bias=bias, word_bias={})

    def _marked(self, asked: Generate, tokens: list[int], wanted: Wanted) -> Outline:
        """Only a conversation has channels: a plain prompt's answer is given as it is."""
        if not isinstance(asked.prompt, Chat):
            return Outline()
        return Outline(
            machine=self._markup.machine(calls=bool(wanted.tools)),
            state=self._markup.begins(self._model.tokenizer, tokens, wanted.prefill),
            reader=self._family.reader(wanted.tools, asked.request) if wanted.tools else None,
            is_parallel=wanted.choice.parallel,
            is_formatted=wanted.content is not None,
        )

    def _rules(self, outline: Outline, thinking: Resolved, granted: int) -> Rules:
        """Those of thinking."""
        return Rules(
            machine=outline.machine,
            state=outline.state,
            opening=self._opening if thinking.is_enabled else (),
            closing=self._closing,
            budget=thinking.within(granted),
        )

    def _constrained(self, rules: Rules, wanted: Wanted) -> Rules:
        """Compiles what is wanted; raises MeshError."""
        content, calls = None, None
        is_begun = wanted.prefill is not None or not rules.machine
        if wanted.content is not None:
            header = "" if is_begun else self._markup.content_header
            content = self._grammars.content(wanted.content, header, wanted.prefill or "")
        if wanted.prescribes_calls:
            calls = self._grammars.calls(wanted.tools, wanted.choice)
        return replace(
            rules,
            content=content,
            calls=calls,
            start=self._family.start,
            is_binding=wanted.must_call or content is not None,
            binds_in=NORMAL if is_begun else self._markup.binds_in,
        )

    def _refuse_unless_possible(self, wanted: Wanted) -> None:
        if not self._keeps_formats:
            raise MeshError(
                Code.UNSUPPORTED_PARAMETER,
                f"{self._model.card.id} can be held to no format, because its tokenizer is of a "
                "kind whose vocabulary cannot be read: leave this out, or choose another model",
                param="tool_choice" if wanted.format is None else "response_format",
            )


def _size(prompt: Prompt) -> int:
    """Characters to tokenise."""
    match prompt:
        case Chat():
            return prompt.chars
        case Text(text=text):
            return len(text)
        case Tokens():
            return 0
