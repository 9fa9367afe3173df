"""Clients of the mesh that a module of tests starts as its ``mesh``."""

from collections.abc import Iterator

import openai
import pytest

from tests.mesh.house import Mesh


@pytest.fixture
def gpt(mesh: Mesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key="ours", max_retries=0) as client:
        yield client
