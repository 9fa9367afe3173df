"""A tiny model beside drafts of it, and batches in which they guess whatever it costs."""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest

from services.runner.engine.batching import pace
from services.runner.engine.batching.batch import Batch
from services.runner.engine.drafting.execution import DraftedExecution
from services.runner.engine.loading import LoadedModel, load
from tests.tiny import Shape, make_tiny
from tests.unit.engine.conftest import Driver

CONTEXT = 1024


class Always:
    """Guesses as many ahead as these, in turn."""

    acceptance = 0.0
    speedup = 0.0

    def __init__(self, *aheads: int) -> None:
        self._aheads = cycle(aheads)
        self.passes: list[tuple[int, int]] = []
        """Guessed and accepted."""
        self.plain = 0

    @property
    def ahead(self) -> int:
        return next(self._aheads)

    def learn_plain(self, seconds: float | None) -> None:
        self.plain += 1

    def learn_pass(self, guessed: int, accepted: int, draft_s: float, all_s: float | None) -> None:
        self.passes.append((guessed, accepted))


class Pair(Driver):
    """A driver whose model has a draft."""

    def __init__(self, batch: Batch, execution: DraftedExecution, worth: Always) -> None:
        super().__init__(batch)
        self.execution = execution
        self.worth = worth

    @property
    def accepted(self) -> int:
        return sum(accepted for _, accepted in self.worth.passes)

    @property
    def refused(self) -> int:
        return sum(accepted < guessed for guessed, accepted in self.worth.passes)


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The tiny model once more: all that it guesses comes true."""
    home = tmp_path_factory.mktemp("models")
    return load(str(make_tiny(home / "Twin", context_length=CONTEXT)), home)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Another one, of the same vocabulary: hardly anything that it guesses does."""
    home = tmp_path_factory.mktemp("models")
    folder = make_tiny(home / "Stranger", 5, CONTEXT, shape=Shape(layers=1, heads=2, kv_heads=1))
    return load(str(folder), home)


@pytest.fixture(scope="session")
def likeness(tmp_path_factory: pytest.TempPathFactory, tiny: LoadedModel) -> LoadedModel:
    """The tiny model, blurred: some of what it guesses comes true."""
    home = tmp_path_factory.mktemp("models")
    return load(str(_blurred(make_tiny(home / "Likeness", context_length=CONTEXT))), home)


def _blurred(folder: Path) -> Path:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    rng = np.random.default_rng(1)
    weights = {
        name: (value + 0.08 * value.std() * rng.standard_normal(value.shape)).astype(np.float32)
        for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "mlx"})
    return folder


@pytest.fixture
def paired(
    tiny: LoadedModel,
    twin: LoadedModel,
    stranger: LoadedModel,
    likeness: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Pair]]:
    """``paired("twin", 4, slots=8)``: the tiny model with that draft, guessing so many ahead from
    the first step on, however long a prompt takes to read.
    """
    monkeypatch.setattr(pace.Pace, "cost_s", lambda *_: 0.0)
    drafts = {"twin": twin, "stranger": stranger, "likeness": likeness}
    batches: list[Batch] = []

    def make(
        draft: str = "likeness", *aheads: int, model: LoadedModel = tiny, **settings: object
    ) -> Pair:
        worth = Always(*(aheads or (1, 3, 5)))
        execution = DraftedExecution(model, drafts[draft], worth)
        batches.append(Batch(execution, **settings))  # type: ignore[arg-type]
        return Pair(batches[-1], execution, worth)

    yield make
    for batch in batches:
        batch.close()
