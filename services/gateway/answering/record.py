"""What one request came to, told once at its end, whatever the end."""

import time

from proto.dialects.asked import Asked
from proto.frames import AnyFrame, CallDelta, Delta, End, Progress
from proto.ids import EngineId, GatewayId, KeyId, RequestId
from proto.telemetry import RequestEvent
from services.gateway.answering.capture import Capture
from services.gateway.answering.wire import Endpoint


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
        self.client_request: str | None = None
        self.trace: str | None = None
        self.capture: Capture | None = None
        """In full, where an operator wants it."""
        self.is_handed_on = False
        """Somebody else goes on with it, and will tell."""
        self._ends: dict[int, End] = {}
        self._resumed = 0
        self._made = 0
        """Tokens seen so far: all there is to say of an answer that never ended."""
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
        self.model = asked.name
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
            elif isinstance(frame, Progress):
                self._read_as = frame

    def counted(self, prompt_tokens: int) -> None:
        """What was read for an answer that has no tokens of its own."""
        self._read_as = Progress(0, 0, prompt_tokens, prompt_tokens, 0)

    def end(self, choice: int, end: End, resumed: int = 0) -> None:
        self._ends[choice] = end
        self._resumed += resumed

    def attributes(self) -> dict[str, str | int]:
        """In the words of OpenTelemetry's conventions for generative AI."""
        usages = [end.usage for end in self._ends.values()]
        return {
            "gen_ai.operation.name": self.operation,
            "gen_ai.provider.name": "mlx",
            "gen_ai.request.model": self.model,
            "gen_ai.usage.input_tokens": sum(usage.prompt_tokens for usage in usages)
            or self._read_as.total,
            "gen_ai.usage.output_tokens": sum(usage.completion_tokens for usage in usages),
            "odyssai.engine": self.engine or "",
            "odyssai.request": self.request,
        }

    def event(self, gateway: GatewayId) -> RequestEvent:
        ends = self._ends.values()
        first = min(self._ends, default=0)
        timings = self._ends[first].timings if ends else None
        prompts = [e.usage for c, e in self._ends.items() if c % self._choices_per_prompt == 0]
        ended = sum(end.usage.completion_tokens for end in ends)
        completion = ended if self.status == "ok" else max(ended, self._made)
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
            prompt_tokens=sum(u.prompt_tokens for u in prompts) or self._read_as.total,
            completion_tokens=completion,
            cached_tokens=sum(u.cached_tokens for u in prompts) or self._read_as.cached,
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
        )
