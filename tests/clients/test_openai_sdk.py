"""OpenAI's own tests of its package, against a running mesh.

They show that every documented parameter is taken and every answer has the vendor's types.
What cannot pass stands in openai_sdk_exceptions.json, with the reason; it must not pass either.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_readers
from tests.clients.openai_sdk import FILES, exceptions, fetched, idle, outcomes, reason_for
from tests.mesh.house import Mesh
from tests.tiny import make_tiny

NAMES = {
    "gpt-6-astra": "brief",
    "gpt-3.5-turbo-instruct": "brief",
    "text-embedding-3-small": "reader",
}
"""The models that those tests ask for, and what answers."""
CONTEXT = 256
"""They set no limit, so that every answer fills the context."""


@pytest.fixture(scope="module")
def sdk(pytestconfig: pytest.Config) -> Path:
    return fetched(pytestconfig.cache.mkdir("openai-sdk"))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    models = tmp_path_factory.mktemp("models")
    brief = make_tiny(models / "brief", context_length=CONTEXT)
    reader = tiny_readers.make_causal(models / "reader", pooling="lasttoken")
    aliases = [part for pair in NAMES.items() for part in ("--alias", "=".join(pair))]
    mesh = Mesh(tmp_path_factory.mktemp("mesh") / "home", [brief, reader], arguments=aliases)
    yield mesh.wait_until_it_serves(NAMES)
    mesh.end()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", FILES)
def test_the_packages_own_tests_pass_but_for_the_exceptions(
    file: str, sdk: Path, mesh: Mesh, tmp_path: Path
) -> None:
    became = outcomes(sdk, file, mesh, tmp_path)

    unexcused = {test: why for test, why in became.items() if why and not reason_for(test)}
    assert not unexcused
    assert not [test for test, why in became.items() if not why and reason_for(test)]
    assert not idle(file, became)
    assert any(not why for why in became.values())


def test_every_exception_is_for_a_file_that_is_run() -> None:
    assert {pattern.partition("::")[0] for pattern in exceptions()} <= set(FILES)
    assert all(exceptions().values())
