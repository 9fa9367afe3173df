"""From what an answer must look like to a matcher that says which token may come next.

llguidance compiles and matches; a compiled grammar is kept, and copied for each
answer.
"""

import json
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from functools import cached_property

import llguidance.hf
import msgspec
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import any_to_lark

from proto.errors import Code, MeshError
from proto.format import Format, Grammar, JsonObject, JsonSchema, Regex
from proto.prompt import Tool, ToolChoice
from services.runner.engine.calls.families import harmony
from services.runner.engine.calls.family import Family
from services.runner.engine.calls.lark import SPACE
from services.runner.engine.constraints.trial import Trial
from services.runner.engine.constraints.trying import LIMITS, Vocabulary
from services.runner.engine.loading import LoadedModel

log = logging.getLogger(__name__)

KEPT = 64
"""Compiled grammars kept; one takes some hundred kilobytes."""


class Grammars:
    """All grammars of one model. May be asked from any thread."""

    def __init__(self, model: LoadedModel, family: Family, trial: Trial | None = None) -> None:
        """``trial`` is where grammars are compiled first; None: nowhere."""
        self._trial = trial
        self._model = model
        self._family = family
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def tokenizer(self) -> LLTokenizer:
        """Takes a second for a large vocabulary."""
        return llguidance.hf.from_tokenizer(
            self._model.tokenizer._tokenizer,
            n_vocab=self._model.mask_width,
            eos_token=sorted(self._model.tokenizer.eos_token_ids),
        )

    def content(self, wanted: Format, header: str = "", prefill: str = "") -> LLMatcher:
        """What the content must look like. Raises MeshError.

        A ``header`` is to come before it. ``prefill`` counts as its beginning,
        where it can be one.
        """
        source = self._headed(header, _source(wanted)) if header else _source(wanted)
        matcher = self._compiled(source, "response_format", _article(wanted))
        tokens = self.tokenizer.tokenize_str(prefill) if prefill else []
        if tokens and matcher.validate_tokens(tokens) == len(tokens):
            matcher.consume_tokens(tokens)
        return matcher

    def calls(self, tools: Sequence[Tool], choice: ToolChoice) -> LLMatcher:
        """Calls of these tools and nothing else. Raises MeshError."""
        rules = self._family.grammar(tools, parallel=choice.parallel, literal=self.literal)
        source = LLMatcher.grammar_from_lark(f"start: calls\n{rules}")
        return self._compiled(source, "tools", "the tools' parameters")

    def literal(self, text: str) -> str:
        """A text in Lark, its special tokens by number."""
        parts: list[str] = []
        plain: list[int] = []
        for token in self.tokenizer.tokenize_str(text, parse_special=True):
            if self.tokenizer.is_special_token(token):
                parts += [*self._quoted(plain), f"<[{token}]>"]
                plain = []
            else:
                plain.append(token)
        return " ".join([*parts, *self._quoted(plain)])

    def _headed(self, header: str, source: str) -> str:
        """After a block of thinking the header of the next message begins further up."""
        inner = json.loads(source)["grammars"][0] if source[:1] == "{" else {"lark_grammar": source}
        start = f"({self.literal(harmony.TURN)})?"
        outer = {"lark_grammar": f"start: {start} {self.literal(header)} @content"}
        return json.dumps({"grammars": [outer, {**inner, "name": "content"}]})

    def _quoted(self, tokens: list[int]) -> list[str]:
        return [json.dumps(self.tokenizer.decode_str(tokens))] if tokens else []

    def _compiled(self, source: str, param: str, what: str) -> LLMatcher:
        with self._lock:
            known = self._kept.get(source)
            if known is not None:
                self._kept.move_to_end(source)
                return known.deep_copy()
        if self._trial is not None and (wrong := self._trial.error(source)):
            raise refused(what, wrong, param)
        made = LLMatcher(self.tokenizer, source, log_level=0, limits=LIMITS)
        if made.is_error():
            raise refused(what, made.get_error(), param)
        with self._lock:
            self._kept[source] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made.deep_copy()


def vocabulary(model: LoadedModel) -> Vocabulary:
    """Of a model, as a process that compiles its grammars has to know it."""
    backend = copy(model.tokenizer._tokenizer.backend_tokenizer)
    backend.no_padding()
    backend.no_truncation()
    ends = sorted(model.tokenizer.eos_token_ids)
    return Vocabulary(tokenizer=backend.to_str(), size=model.mask_width, ends=ends)


def _source(wanted: Format) -> str:
    match wanted:
        case JsonObject():
            return _json({"type": "object"})
        case JsonSchema(schema=schema):
            return _json(schema)
        case Regex(pattern=pattern):
            return LLMatcher.grammar_from_regex(pattern)
        case Grammar(source=source):
            return LLMatcher.grammar_from_lark(_lark(source))


def _json(schema: dict[str, object]) -> str:
    try:
        return LLMatcher.grammar_from_json_schema(
            msgspec.json.encode(schema).decode(), defaults={"whitespace_pattern": SPACE}
        )
    except ValueError as wrong:
        raise refused("the schema", str(wrong), "response_format") from wrong


def _lark(source: str) -> str:
    try:
        return any_to_lark(source)
    except Exception as wrong:  # The converter raises whatever its own mistakes raise.
        log.info("a GBNF grammar could not be read: %s", type(wrong).__name__)
        raise refused("the grammar", str(wrong), "response_format") from wrong


def _article(wanted: Format) -> str:
    match wanted:
        case JsonObject() | JsonSchema():
            return "the schema"
        case Regex():
            return "the regular expression"
        case Grammar():
            return "the grammar"


_KEYWORDS = re.compile(r"Unimplemented keys: \[(.*)\]")


def refused(what: str, why: str, param: str) -> MeshError:
    """What llguidance says, for people: which keyword or place, and what to do."""
    if named := _KEYWORDS.search(why):
        words = named[1].replace('"', "'")
        message = f"{what} cannot be enforced: {words} is not supported; leave it out"
    else:
        message = f"{what} cannot be enforced: {_first_lines(why)}"
    return MeshError(Code.UNSUPPORTED_PARAMETER, message, param=param)


def _first_lines(why: str) -> str:
    """Without the state that llguidance may append, and on one line."""
    return " ".join(why.partition("<state>")[0].split())[:400]
