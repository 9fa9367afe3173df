"""One mesh for all that only talk to it; meshes of their own for those that break something."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import anthropic
import httpx
import openai
import pytest

from tests.collector import Traced, collecting
from tests.mesh.house import Mesh
from tests.mesh.telemetry import Telemetry
from tests.parrot import make_parrot

OwnMesh = Callable[..., Mesh]


@pytest.fixture(scope="session")
def mesh(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, roomy_model: Path
) -> Iterator[Mesh]:
    """The shared one. It holds ``tiny``, and ``roomy``, whose prompts take seconds to read."""
    mesh = Mesh(tmp_path_factory.mktemp("mesh") / "home", [tiny_model, roomy_model])
    yield mesh.wait_until_it_serves(["tiny", "roomy"])
    mesh.end()


@pytest.fixture(scope="session")
def traced() -> Iterator[Traced]:
    with collecting() as traced:
        yield traced


@pytest.fixture(scope="session")
def parrots(tmp_path_factory: pytest.TempPathFactory, traced: Traced) -> Iterator[Mesh]:
    """Shared, too. Its model, ``Parrot`` or ``parrot``, says what the last turn holds.

    It logs all that there is to log, and traces.
    """
    folder = tmp_path_factory.mktemp("parrots")
    told = {
        "ODYSSAI_TRUST_REMOTE_CODE": "1",  # The parrot's code is the tests' own.
        "ODYSSAI_LOG": "debug",
        "OTEL_EXPORTER_OTLP_ENDPOINT": traced.url,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    mesh = Mesh(folder / "home", [make_parrot(folder / "Parrot")], told)
    yield mesh.wait_until_it_serves(["Parrot"])
    mesh.end()


@pytest.fixture(scope="module")
def start_mesh(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[OwnMesh]:
    """A mesh of a test's or a module's own; it is ended however the test ends."""
    started: list[Mesh] = []

    def start(*models: Path, told: Mapping[str, str] | None = None) -> Mesh:
        home = tmp_path_factory.mktemp("own") / "home"
        mesh = Mesh(home, models or [tiny_model], told)
        started.append(mesh)
        return mesh.wait_until_it_serves()

    yield start
    for mesh in started:
        mesh.end()


@pytest.fixture
async def telemetry(mesh: Mesh) -> AsyncIterator[Telemetry]:
    async with Telemetry.listen(mesh.access.url("ops"), engines=2) as telemetry:
        yield telemetry


@pytest.fixture
def http(mesh: Mesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mesh.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def gpt(mesh: Mesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_gpt(mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{mesh.url}/v1", api_key="none", max_retries=0
    ) as client:
        yield client


@pytest.fixture
def claude(mesh: Mesh) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=mesh.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_claude(mesh: Mesh) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=mesh.url, api_key="none", max_retries=0) as client:
        yield client
