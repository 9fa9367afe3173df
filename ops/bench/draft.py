"""What a draft gains an answer that is decoded alone: the engine's own batch against itself.

One process, the same prompts, taking turns. This machine has one model that speaks, so its draft
is the same model with weights rounded to few bits, and the model is that one made deeper by layers
that compute and add nothing: it says the same and takes as long as one of its size. How often a
draft is right, and how much it costs, are then as they are for a real pair.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from ops.bench._models import BUNDLED, brief
from ops.bench._report import Report, paired, parser, say
from proto.frames import Delta
from proto.generation import Generate, Sampling
from proto.ids import GatewayId, RequestId
from proto.prompt import Chat, Turn
from services.runner.engine import blas

blas.preload()  # Before the first import of mlx.

import asyncio  # noqa: E402

import mlx.core as mx  # noqa: E402
from mlx.nn.layers.quantized import quantize  # noqa: E402
from mlx.utils import tree_map  # noqa: E402
from mlx_lm.models.llama import TransformerBlock  # noqa: E402
from mlx_lm.utils import dequantize_model  # noqa: E402

from services.runner.engine.batching.batch import Batch  # noqa: E402
from services.runner.engine.batching.execution import Execution  # noqa: E402
from services.runner.engine.batching.sequence import Sequence as Answer  # noqa: E402
from services.runner.engine.drafting.execution import DraftedExecution  # noqa: E402
from services.runner.engine.loading import LoadedModel, load  # noqa: E402
from services.runner.engine.reception import Reception  # noqa: E402

AIM = 1.2
"""For a draft that is right most of the time."""
HARMLESS = 0.93
"""For those that are right half of the time, or cost as much as the model: the engine has to notice
where nothing is gained.
"""
TIMES = 3
"""As many layers as the draft has."""
STREAMS = 4
"""Answers side by side, where a draft is not used."""


@dataclass(frozen=True)
class Extent:
    rounds: int
    tokens: int
    warm_up: int
    """Rounds before those that count, in which the engine learns whether it pays."""


WHOLE, QUICK = Extent(3, 64, 1), Extent(1, 8, 0)


def main(argv: Sequence[str]) -> int:
    args = parser(
        "draft", "An answer with a draft against the same one without.", WHOLE.rounds
    ).parse_args(argv)
    extent = QUICK if args.quick else replace(WHOLE, rounds=args.rounds)
    report = Report(
        "draft",
        [
            f"SmolLM2-135M, {TIMES} times as deep by layers that add nothing, and drafts of it: "
            "itself at its own depth, rounded to so many bits. Tokens of both sides are compared.",
        ],
    )
    with TemporaryDirectory(prefix="odyssai-bench-") as folder:
        home = Path(folder)
        small = load(BUNDLED, home)
        deep = replace(load(BUNDLED, home), model=deepened(load(BUNDLED, home).model, TIMES))
        bench = Bench(deep, extent)
        for bits, aim, sides in ((6, AIM, (1, STREAMS)), (4, HARMLESS, (1,))):
            draft = replace(small, model=rounded(load(BUNDLED, home).model, bits))
            bench.measure(report, f"a draft of {bits} bits", draft, aim, sides)
        Bench(small, extent).measure(report, "a draft as large", small, HARMLESS, (1,))
    return report.close(as_json=args.json)


def deepened(model: Any, times: int) -> Any:
    """Computes as many layers, all but its own of no effect."""
    inner = model.model
    for own in list(inner.layers) * (times - 1):
        layer = TransformerBlock(model.args)
        layer.update(own.parameters())
        for silent in (layer.self_attn.o_proj, layer.mlp.down_proj):
            silent.weight = mx.zeros_like(silent.weight)
        mx.eval(layer.parameters())
        inner.layers.append(layer)
    return model


def rounded(model: Any, bits: int) -> Any:
    """As a conversion to so many bits would have it, in float32."""
    quantize(model, group_size=32, bits=bits)
    model = dequantize_model(model)
    model.update(tree_map(lambda value: value.astype(mx.float32), model.parameters()))
    mx.eval(model.parameters())
    return model


class Bench:
    def __init__(self, model: LoadedModel, extent: Extent) -> None:
        self._model = model
        self._extent = extent
        self._reception = Reception(model)

    def measure(
        self, report: Report, title: str, draft: LoadedModel, aim: float, sides: tuple[int, ...]
    ) -> None:
        """``sides``: of how many answers at a time."""
        plainly, drafted = Execution(self._model), DraftedExecution(self._model, draft)
        for streams in sides:
            self._side(report, f"{title} × {streams}", plainly, drafted, streams, aim)
        told = drafted.drafting
        report.add(f"{title}: accepted of late", told.acceptance, "")
        report.add(f"{title}: speed-up by its own measure", told.speedup, "")

    def _side(
        self,
        report: Report,
        title: str,
        plainly: Execution,
        drafted: DraftedExecution,
        streams: int,
        aim: float,
    ) -> None:
        extent = self._extent
        warm_up = extent.warm_up if streams == 1 else 0
        ours, theirs, same = [], [], []
        for turn in range(-warm_up, extent.rounds):
            (without, said), (with_draft, same_said) = (
                self._rate(execution, streams, f"{turn}") for execution in (plainly, drafted)
            )
            ours.append(with_draft)
            theirs.append(without)
            same.append(said == same_said)
            say(
                f"draft: {title}, {turn}: {without:.1f} without, {with_draft:.1f} with, tok/s; "
                f"{drafted.drafting}"
            )
        ratio = paired(ours[warm_up:], theirs[warm_up:])
        report.add(title, ratio, at_least=aim if streams == 1 else HARMLESS)
        report.add(f"{title}: without", median(theirs[warm_up:]), "tok/s")
        report.add(f"{title}: the same answers", sum(same) / len(same), "of all", at_least=1.0)

    def _rate(
        self, execution: Execution, streams: int, mark: str
    ) -> tuple[float, list[tuple[int, ...]]]:
        """Tokens a second from the first one on, and the tokens."""
        batch = Batch(execution, slots=streams)
        answers = [self._asked(f"{mark}.{i}") for i in range(streams)]
        said: dict[str, list[int]] = {answer.request: [] for answer in answers}
        for answer in answers:
            batch.add(answer)

        def step() -> None:
            for request, frame in batch.step():
                if isinstance(frame, Delta):
                    said[request].extend(frame.tokens)

        while not all(said.values()):
            step()
        before, started = batch.generated_tokens, time.perf_counter()
        while batch.has_work:
            step()
        rate = (batch.generated_tokens - before) / (time.perf_counter() - started)
        batch.close()
        return rate, [tuple(tokens) for tokens in said.values()]

    def _asked(self, mark: str) -> Answer:
        turns = tuple(Turn(role=m["role"], content=m["content"]) for m in brief(mark))  # type: ignore[arg-type]
        asked = Generate(
            request=RequestId(f"r{mark}".replace(".", "-")),
            gateway=GatewayId("bench.draft"),
            model=self._model.card.id,
            prompt=Chat(turns=turns),
            sampling=Sampling(temperature=0),
            max_tokens=self._extent.tokens,
        )
        return asyncio.run(self._reception.receive(asked))
