from collections.abc import Callable, Iterator

import pytest

from services.runner.engine import blas

blas.preload()

from proto.frames import AnyFrame, Delta  # noqa: E402
from proto.ids import RequestId  # noqa: E402
from services.runner.engine.batch import Batch  # noqa: E402
from services.runner.engine.loading import LoadedModel, load  # noqa: E402
from services.runner.engine.sequence import Sequence  # noqa: E402
from tests.tiny import make_tiny  # noqa: E402


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    home = tmp_path_factory.mktemp("models")
    return load(str(make_tiny(home / "Tiny", context_length=1024)), home)


class Driver:
    """A batch and all frames that ever came out of it."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.frames: dict[RequestId, list[AnyFrame]] = {}

    def step(self) -> None:
        for request, frame in self.batch.step():
            self.frames.setdefault(request, []).append(frame)

    def run(self, *sequences: Sequence) -> None:
        for sequence in sequences:
            self.batch.add(sequence)
        while self.batch.has_work:
            self.step()

    def deltas(self, request: str) -> list[Delta]:
        return [f for f in self.frames.get(RequestId(request), []) if isinstance(f, Delta)]

    def tokens(self, request: str) -> list[int]:
        return [token for delta in self.deltas(request) for token in delta.tokens]

    def text(self, request: str) -> str:
        return "".join(delta.text for delta in self.deltas(request))

    def last(self, request: str) -> AnyFrame:
        return self.frames[RequestId(request)][-1]


@pytest.fixture
def drive(tiny: LoadedModel) -> Iterator[Callable[..., Driver]]:
    """``drive(slots=4)``: a fresh batch of the tiny model."""
    batches: list[Batch] = []

    def make(model: LoadedModel = tiny, **settings: object) -> Driver:
        batches.append(Batch(model, **settings))  # type: ignore[arg-type]
        return Driver(batches[-1])

    yield make
    for batch in batches:
        batch.close()
