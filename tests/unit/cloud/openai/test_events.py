"""What an OpenAI-compatible upstream says that a request cost."""

import msgspec
import pytest

from proto.frames import Usage
from services.cloud.openai.events import piece, read


def usage(**said: object) -> Usage | None:
    tokens = {"prompt_tokens": 3, "completion_tokens": 2}
    return piece(read(msgspec.json.encode({"usage": tokens | said}))).usage


def test_a_cost_that_the_upstream_tells_is_taken_to_the_nano_dollar() -> None:
    details = {"cached_tokens": 1, "cache_write_tokens": 2}

    assert usage(cost=0.000123457, prompt_tokens_details=details) == Usage(
        3, 2, 1, 0, 2, cost_nano_usd=123_457
    )


@pytest.mark.parametrize("cost", [None, -1, True, "0.1", {"total_cost": 1}, 1e300])
def test_what_is_no_amount_of_dollars_is_no_cost(cost: object) -> None:
    assert usage(cost=cost) == Usage(3, 2, 0)
