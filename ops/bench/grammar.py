"""What it costs a batch to keep a JSON schema: the engine's own batch against itself, free.

One process, the same prompts, taking turns. Timed is decoding alone, from the step at which all
streams run to the first that ends.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ops.bench._models import BUNDLED, brief, tiny
from ops.bench._report import Report, paired, parser, say
from proto.errors import Code
from proto.format import Format, JsonSchema
from proto.frames import End
from proto.generation import Generate, Sampling
from proto.ids import GatewayId, RequestId
from proto.prompt import Chat, Turn
from services.runner.engine import blas

blas.preload()  # Before the first import of mlx.

from services.runner.engine.batching.batch import Batch  # noqa: E402
from services.runner.engine.batching.execution import Execution  # noqa: E402
from services.runner.engine.batching.sequence import Sequence as Answer  # noqa: E402
from services.runner.engine.loading import LoadedModel, load  # noqa: E402
from services.runner.engine.reception import Reception  # noqa: E402

AIM = 0.9
ENDLESS = 1000
"""Entries that an answer must have: it never ends before it is cut off."""
LIST = JsonSchema(
    schema={
        "type": "array",
        "minItems": ENDLESS,
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 40},
                "age": {"type": "integer", "minimum": 0, "maximum": 150},
                "role": {"enum": ["reader", "writer", "owner"]},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}},
            },
            "required": ["name", "age", "role", "tags"],
            "additionalProperties": False,
        },
    }
)


@dataclass(frozen=True)
class Extent:
    rounds: int
    tokens: int
    streams: tuple[int, ...] = (1, 4, 16)


TINY = Extent(7, 256)
SMOL = Extent(3, 48)
QUICK = Extent(1, 16, (1, 4))


def main(argv: Sequence[str]) -> int:
    arguments = parser(
        "grammar", "A batch held to a schema against the same batch free.", SMOL.rounds
    )
    arguments.add_argument("--only", choices=("tiny", BUNDLED), help="one model instead of both")
    args = arguments.parse_args(argv)
    report = Report("grammar", ["In a mixed batch every second stream is held to the schema."])
    with tempfile.TemporaryDirectory(prefix="odyssai-bench-") as folder:
        home = Path(folder)
        if args.only != BUNDLED:
            extent = QUICK if args.quick else TINY
            measure(report, "tiny", load(str(tiny(home)), home), extent, None)
        if args.only != "tiny" and not args.quick:
            extent = Extent(args.rounds, SMOL.tokens)
            measure(report, BUNDLED, load(BUNDLED, home), extent, AIM)
    return report.close(as_json=args.json)


class Bench:
    def __init__(self, model: LoadedModel, extent: Extent) -> None:
        self._model = model
        self._tokens = extent.tokens
        self._reception = Reception(model)

    def rate(self, streams: int, format_of: Callable[[int], Format | None]) -> float:
        """Tokens a second of a whole batch, while all of its streams run."""
        answers = [self._asked(i, format_of(i)) for i in range(streams)]
        batch = Batch(Execution(self._model), slots=streams)
        for answer in answers:
            batch.add(answer)
        while any(answer.generated < 2 for answer in answers):
            batch.step()
        tokens, started = batch.generated_tokens, time.perf_counter()
        while not any(isinstance(frame, End) for _, frame in batch.step()):
            pass
        rate = (batch.generated_tokens - tokens) / (time.perf_counter() - started)
        batch.abandon_all(Code.CANCELLED, "measured")
        batch.close()
        return rate

    def _asked(self, place: int, wanted: Format | None) -> Answer:
        turns = tuple(Turn(role=m["role"], content=m["content"]) for m in brief(f"{place}"))  # type: ignore[arg-type]
        asked = Generate(
            request=RequestId(f"r{place}"),
            gateway=GatewayId("bench.grammar"),
            model=self._model.card.id,
            prompt=Chat(turns=turns),
            sampling=Sampling(temperature=0),
            max_tokens=self._tokens,
            format=wanted,
        )
        return asyncio.run(self._reception.receive(asked))


def measure(
    report: Report, name: str, model: LoadedModel, extent: Extent, aim: float | None
) -> None:
    bench = Bench(model, extent)
    for streams in extent.streams:
        free, held, mixed = [], [], []
        for turn in range(-1, extent.rounds):
            free.append(bench.rate(streams, lambda _: None))
            held.append(bench.rate(streams, lambda _: LIST))
            mixed.append(bench.rate(streams, lambda i: LIST if i % 2 else None))
            say(
                f"grammar: {name} × {streams}, {turn}: {free[-1]:.1f} free, {held[-1]:.1f} held, "
                f"{mixed[-1]:.1f} mixed, tok/s"
            )
        title = f"{name} × {streams}"
        report.add(title, paired(held[1:], free[1:]), at_least=aim)
        if streams > 1:
            report.add(f"{title}: mixed", paired(mixed[1:], free[1:]), at_least=aim)
        report.add(f"{title}: free", median(free[1:]), "tok/s")
