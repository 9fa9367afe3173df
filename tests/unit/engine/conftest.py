from collections.abc import Callable, Iterator

import pytest

from services.runner.engine import blas

blas.preload()

from proto.frames import AnyFrame, CallDelta, Delta  # noqa: E402
from proto.ids import RequestId  # noqa: E402
from services.runner.engine.batching.batch import Batch  # noqa: E402
from services.runner.engine.batching.execution import Execution  # noqa: E402
from services.runner.engine.batching.sequence import Sequence  # noqa: E402
from services.runner.engine.loading import LoadedModel, load  # noqa: E402
from tests.parrot import MARKERS, make_parrot  # noqa: E402
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

    def text(self, request: str, channel: str = "content") -> str:
        said = (delta for delta in self.deltas(request) if delta.channel == channel)
        return "".join(delta.text for delta in said)

    def calls(self, request: str) -> list[tuple[str, str]]:
        """Names and arguments."""
        made: list[tuple[str, str]] = []
        for frame in self.frames.get(RequestId(request), []):
            if not isinstance(frame, CallDelta):
                continue
            if frame.call == len(made):
                assert frame.id, "a call's first frame tells its id"
                made.append((frame.name, ""))
            name, arguments = made[frame.call]
            made[frame.call] = name, arguments + frame.arguments
        return made

    def last(self, request: str) -> AnyFrame:
        return self.frames[RequestId(request)][-1]


@pytest.fixture
def drive(tiny: LoadedModel) -> Iterator[Callable[..., Driver]]:
    """``drive(slots=4)``: a fresh batch of the tiny model."""
    batches: list[Batch] = []

    def make(model: LoadedModel = tiny, **settings: object) -> Driver:
        batches.append(Batch(Execution(model), **settings))  # type: ignore[arg-type]
        return Driver(batches[-1])

    yield make
    for batch in batches:
        batch.close()


@pytest.fixture(scope="session")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A reasoner that says what the last turn tells it to."""
    home = tmp_path_factory.mktemp("models")
    return load(str(make_parrot(home / "Parrot")), home, trusts_code=True)


@pytest.fixture(scope="session")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A random model with the markers of a reasoner that calls tools."""
    home = tmp_path_factory.mktemp("models")
    return load(str(make_tiny(home / "Thinker", context_length=4096, markers=MARKERS)), home)
