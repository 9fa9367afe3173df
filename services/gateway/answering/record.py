"""What one request came to, told once at its end, whatever the end."""

import time
from collections.abc import Iterator

from proto.dialects.asked import Asked
from proto.errors import Code
from proto.frames import AnyFrame, CallDelta, Chunk, Delta, End, Progress, Usage
from proto.ids import EngineId, GatewayId, KeyId, ModelId, RequestId
from proto.money import dollars
from proto.telemetry import RequestEvent
from proto.usage import Amounts
from services.gateway.answering.capture import Capture
from services.gateway.answering.wire import Endpoint
from services.gateway.asking.mesh import size
from services.gateway.metering.metered import Metered, metered, reckoned
from services.gateway.metering.tariff import Tariff

CUT = ("cancelled", "stalled", Code.DEADLINE.word)
"""What a provider was asked for, and would have answered."""


class Record:
    """Filled in while the request is served."""

    def __init__(self, request: RequestId, wire: Endpoint) -> None:
        self.request = request
        self.wire = wire
        self.status = "ok"
        self.operation = "chat"
        """In the words of OpenTelemetry's conventions."""
        self.model = ""
        self.session: str | None = None
        self.key: KeyId | None = None
        """Who asks."""
        self.stream = False
        self.engine: EngineId | None = None
        self.route: tuple[ModelId, ...] = ()
        """The models that were asked in turn; the last one served."""
        self.client_request: str | None = None
        self.trace: str | None = None
        self.capture: Capture | None = None
        """In full, where an operator wants it."""
        self.is_handed_on = False
        """Somebody else goes on with it, and will tell."""
        self._ends: dict[int, End] = {}
        self._resumed = 0
        self.tariff: Tariff | None = None
        """Who serves it at which price; None: no engine took it."""
        self.serving: tuple[EngineId, ModelId] | None = None
        """Of which ``tariff`` is."""
        self.target = ModelId("")
        """The mesh's own name for ``model``."""
        self._made = 0
        """Tokens seen so far: all there is to say of an answer that never ended."""
        self._said: dict[int, int] = {}
        """Characters of each choice that came without tokens, as providers' do."""
        self._asked: Asked | None = None
        self._is_counted = False
        self._read_as = Progress(0, 0, 0, 0, 0)
        self._choices_per_prompt = 1
        self._started_s = time.time()
        self._began = time.monotonic()
        self._read = self._began
        self._first: float | None = None

    def read(self) -> None:
        """The last byte of the request is here."""
        self._read = time.monotonic()

    def understood(self, asked: Asked) -> None:
        self._asked = asked
        self.model, self.target = asked.name, asked.model
        self.session = asked.session
        self.stream = asked.stream
        self._choices_per_prompt = asked.n

    def token(self) -> None:
        if self._first is None:
            self._first = time.monotonic()

    def seen(self, choice: int, frames: list[AnyFrame]) -> None:
        if self.capture is not None:
            self.capture.hear(choice, frames)
        for frame in frames:
            if isinstance(frame, Delta | CallDelta):
                self._made += len(frame.tokens)
                if not frame.tokens:
                    self._said[choice] = self._said.get(choice, 0) + _chars(frame)
            elif isinstance(frame, Chunk):
                self._said[choice] = self._said.get(choice, 0) + frame.chars
            elif isinstance(frame, Progress):
                self._read_as = frame

    def counted(self, prompt_tokens: int) -> None:
        """What was read for an answer that has no tokens of its own."""
        self._read_as = Progress(0, 0, prompt_tokens, prompt_tokens, 0)
        self._is_counted = True

    def end(self, choice: int, end: End, resumed: int = 0) -> None:
        self._ends[choice] = end
        self._resumed += resumed

    def metered(self) -> Metered:
        """What it took until now."""
        tariff = self.tariff
        if tariff is None or tariff.is_own:
            return metered([self._own()], tariff.price if tariff else None)
        ended = [end.usage for end in self._ends.values() if _is_told(end.usage)]
        reckoned = [] if self._is_counted else list(self._reckoned())
        if self._is_counted:
            ended.append(Usage(self._read_as.total, 0, 0))
        return metered([*ended, *reckoned], tariff.price, is_estimated=bool(reckoned))

    def _own(self) -> Usage:
        """Our engines read a prompt once, however many choices it has."""
        usages = [end.usage for end in self._ends.values()]
        prompts = [e.usage for c, e in self._ends.items() if c % self._choices_per_prompt == 0]
        ended = sum(usage.completion_tokens for usage in usages)
        return Usage(
            sum(u.prompt_tokens for u in prompts) or self._read_as.total,
            ended if self.status == "ok" else max(ended, self._made),
            sum(u.cached_tokens for u in prompts) or self._read_as.cached,
            sum(usage.reasoning_tokens for usage in usages),
        )

    def _reckoned(self) -> Iterator[Usage]:
        """What a provider has not counted to the end: of each choice what was said, and its
        prompt. Of one that said nothing, because it was refused for example, there is nothing.
        """
        told = {choice for choice, end in self._ends.items() if _is_told(end.usage)}
        cut = {choice: chars for choice, chars in self._said.items() if choice not in told}
        if not cut and not told and self.status in CUT:
            cut = {0: 0}
        for choice, chars in cut.items():
            prompt = self._read_as.total or reckoned(self._prompt_chars(choice))
            yield Usage(prompt, reckoned(chars), self._read_as.cached)

    def _prompt_chars(self, choice: int) -> int:
        prompts = self._asked.prompts if self._asked else ()
        return size(prompts[choice // self._choices_per_prompt]) if prompts else 0

    def amounts(self) -> Amounts | None:
        """For the books; None: nobody served anything."""
        if self.tariff is None:
            return None
        took = self.metered()
        if self.status != "ok" and not took.usage.prompt_tokens + took.usage.completion_tokens:
            return None
        return took.amounts(is_paid_for=self.tariff.leaves)

    def unspent(self) -> int:
        """Tokens that no limit has heard of yet: prompts are told of when they are read, but for
        those that a provider reads.
        """
        usage = self.metered().usage
        is_told = self.tariff is None or self.tariff.is_own or self._is_counted
        return usage.completion_tokens + (0 if is_told else usage.prompt_tokens)

    def attributes(self) -> dict[str, str | int | float]:
        """In the words of OpenTelemetry's conventions for generative AI."""
        took = self.metered()
        told: dict[str, str | int | float] = {
            "gen_ai.operation.name": self.operation,
            "gen_ai.provider.name": (self.tariff and self.tariff.provider) or "mlx",
            "gen_ai.request.model": self.model,
            "gen_ai.response.model": self.tariff.model if self.tariff else "",
            "gen_ai.usage.input_tokens": took.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": took.usage.completion_tokens,
            "odyssai.engine": self.engine or "",
            "odyssai.request": self.request,
            "odyssai.route": " > ".join(self.route),
        }
        if took.cost_nano_usd is not None:
            told["odyssai.cost_usd"] = dollars(took.cost_nano_usd)
        return told

    def event(self, gateway: GatewayId) -> RequestEvent:
        ends = self._ends.values()
        first = min(self._ends, default=0)
        timings = self._ends[first].timings if ends else None
        took = self.metered()
        completion = took.usage.completion_tokens
        decode_s = max((end.timings.decode_s for end in ends), default=0.0)
        return RequestEvent(
            request=self.request,
            client_request=self.client_request,
            model=self.model,
            engine=self.engine,
            gateway=gateway,
            dialect=self.wire.dialect,
            endpoint=self.wire.endpoint,
            stream=self.stream,
            status=self.status,
            finish_reason=self._ends[first].reason if ends else None,
            prompt_tokens=took.usage.prompt_tokens,
            completion_tokens=completion,
            cached_tokens=took.usage.cached_tokens,
            started_s=self._started_s,
            queued_s=timings.queued_s if timings else 0.0,
            prefill_s=timings.prefill_s if timings else 0.0,
            decode_s=decode_s,
            ttft_s=None if self._first is None else self._first - self._read,
            duration_s=time.monotonic() - self._began,
            tokens_per_s=completion / decode_s if decode_s > 0 else 0.0,
            session=self.session,
            key=self.key,
            trace=self.trace,
            resumed=self._resumed,
            route=self.route,
            served=self.tariff.model if self.tariff else "",
            provider=self.tariff.provider if self.tariff else "",
            cache_write_tokens=took.usage.cache_write_tokens,
            cost_usd=None if took.cost_nano_usd is None else dollars(took.cost_nano_usd),
            is_estimated=took.is_estimated,
        )


def _chars(frame: Delta | CallDelta) -> int:
    return len(frame.text) if isinstance(frame, Delta) else len(frame.name) + len(frame.arguments)


def _is_told(usage: Usage) -> bool:
    """Some providers end an answer without a word of its tokens."""
    return bool(usage.prompt_tokens or usage.completion_tokens)
