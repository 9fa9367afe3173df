"""A request and its answer in full, for an operator who has switched capture on."""

import time

from proto.frames import AnyFrame, CallDelta, Chunk, Delta
from proto.telemetry import CAPTURED, CaptureEvent, Said

MARK = (b"x-odyssai-captured", b"true")
"""Said with the answer, so that whoever asks knows."""


class Capture:
    """Filled in while the request is answered."""

    def __init__(self, body: bytes) -> None:
        self._body = body[:CAPTURED].decode("utf-8", "replace")
        self._said: dict[int, dict[str, list[str]]] = {}

    def hear(self, choice: int, frames: list[AnyFrame]) -> None:
        said = self._said.setdefault(choice, {"content": [], "reasoning": [], "calls": []})
        for frame in frames:
            if isinstance(frame, Delta):
                said[frame.channel].append(frame.text)
            elif isinstance(frame, Chunk):
                said["content"].append(frame.data.decode("utf-8", "replace"))
            elif isinstance(frame, CallDelta):
                if frame.name:
                    said["calls"].append(f"{frame.name} ")
                said["calls"][-1] += frame.arguments

    def event(self, request: str, endpoint: str, model: str, key: str | None) -> CaptureEvent:
        return CaptureEvent(
            request=request,
            endpoint=endpoint,
            model=model,
            key=key,
            body=self._body,
            said=tuple(
                Said(
                    content="".join(said["content"])[:CAPTURED],
                    reasoning="".join(said["reasoning"])[:CAPTURED],
                    calls=tuple(said["calls"]),
                )
                for _, said in sorted(self._said.items())
            ),
            at_s=time.time(),
        )
