"""OpenAI's own tests of its package, against a running mesh.

They show that every documented parameter is taken and every answer has the vendor's types.
What cannot pass stands in openai_sdk_exceptions.json, with the reason; it must not pass either.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.clients.openai_sdk import FILES, exceptions, fetched, outcomes, reason_for
from tests.mesh.house import Mesh
from tests.tiny import make_tiny

NAMES = ("gpt-6-astra", "gpt-3.5-turbo-instruct", "text-embedding-3-small")
"""The models that those tests ask for."""
CONTEXT = 256
"""They set no limit, so that every answer fills the context."""


@pytest.fixture(scope="module")
def sdk(pytestconfig: pytest.Config) -> Path:
    return fetched(pytestconfig.cache.mkdir("openai-sdk"))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    model = make_tiny(tmp_path_factory.mktemp("models") / "brief", context_length=CONTEXT)
    aliases = [part for name in NAMES for part in ("--alias", f"{name}=brief")]
    mesh = Mesh(tmp_path_factory.mktemp("mesh") / "home", [model], arguments=aliases)
    yield mesh.wait_until_it_serves(NAMES)
    mesh.end()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", FILES)
def test_the_packages_own_tests_pass_but_for_the_exceptions(
    file: str, sdk: Path, mesh: Mesh, tmp_path: Path
) -> None:
    became = outcomes(sdk, file, mesh.url, tmp_path)

    failed = {test: why for test, why in became.items() if why}
    surprises = {test: why for test, why in failed.items() if reason_for(test) is None}
    assert not surprises
    assert not [test for test in became if test not in failed and reason_for(test)]
    idle = [
        pattern
        for pattern in exceptions()
        if pattern.startswith(file) and not any(fnmatchcase(test, pattern) for test in became)
    ]
    assert not idle, "exceptions for tests that there are not"
    assert len(failed) < len(became) or "embeddings" in file
