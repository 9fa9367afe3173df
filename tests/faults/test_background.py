"""An engine is killed under responses in the background: they are whole, each token once."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.mesh.asking import QUESTION
from tests.mesh.fixtures import OwnMesh
from tests.mesh.house import READY_S, Mesh, living, until

SPAN = 900
"""Tokens of an answer that takes longer than it takes to kill its engine."""
UNDER_WAY = 12
"""Pieces of an answer after which it has begun."""


@pytest.fixture(scope="module")
def own(start_mesh: OwnMesh) -> Mesh:
    return start_mesh()


@pytest.fixture
def client(own: Mesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{own.url}/v1", api_key="none", max_retries=0, timeout=READY_S
    ) as client:
        yield client


def asked(**more: Any) -> dict[str, Any]:
    """Greedy, so that the whole answer is known beforehand."""
    usual = {"model": "tiny", "temperature": 0, "max_output_tokens": SPAN, "input": QUESTION}
    return usual | more


@pytest.mark.timeout(180)
def test_they_go_on_in_the_next_life_of_their_engine(own: Mesh, client: openai.OpenAI) -> None:
    undisturbed = client.responses.create(**asked())
    killed = own.process_of("engine")

    alone = client.responses.create(**asked(background=True))
    followed = client.responses.create(**asked(background=True, stream=True))
    told = []
    for event in followed:
        told.append(event)
        if len(told) == UNDER_WAY:
            until(lambda: client.responses.retrieve(alone.id).status == "in_progress", READY_S)
            killed.kill()
    until(lambda: client.responses.retrieve(alone.id).status != "in_progress", READY_S)

    assert not living([killed])
    ends = [client.responses.retrieve(id) for id in (alone.id, told[0].response.id)]
    for end in ends:
        assert end.error is None
        assert end.incomplete_details.reason == "max_output_tokens"
        assert end.output_text == undisturbed.output_text
        assert end.usage.output_tokens == SPAN
    pieces = [event.delta for event in told if event.type == "response.output_text.delta"]
    assert "".join(pieces) == undisturbed.output_text
    again = list(client.responses.retrieve(ends[1].id, stream=True))
    assert [event.sequence_number for event in again] == list(range(len(again)))
    assert [event.to_dict() for event in again] == [event.to_dict() for event in told]
