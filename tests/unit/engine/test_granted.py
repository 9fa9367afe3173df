"""What an engine makes of the memory that its agent grants it."""

import pytest

from proto.errors import Code, MeshError
from proto.prompt import Tokens
from services.runner.engine.settings import read
from tests.unit.engine.asking import prompt, receive


@pytest.fixture
def told(monkeypatch):
    def tell(**granted):
        needed = {"ENGINE": "e", "NODE": "n", "BOOT": "b", "SOURCE": "s"}
        for name, value in (needed | granted).items():
            monkeypatch.setenv(f"ODYSSAI_{name}", str(value))
        return read()

    return tell


def test_nothing_is_bounded_that_nobody_granted(told):
    settings = told()

    assert (settings.kv_tokens, settings.kv_bytes, settings.context) == (None, None, None)


def test_zero_bounds_nothing_as_for_models_without_caches(told):
    assert told(KV_TOKENS=0, KV_BYTES=0).kv_tokens is None


def test_one_request_has_to_fit_into_what_all_have_together(told):
    assert told(KV_TOKENS=8000).context == 8000
    assert told(KV_TOKENS=8000, CONTEXT=4000).context == 4000
    assert told(KV_TOKENS=1000, CONTEXT=4000).context == 1000


def test_a_prompt_beyond_the_granted_context_is_refused_with_both_numbers(tiny):
    with pytest.raises(MeshError) as refused:
        receive(tiny, "a", Tokens(ids=tuple(prompt(1024))))

    assert refused.value.code is Code.CONTEXT_OVERFLOW
    assert receive(tiny, "b", Tokens(ids=tuple(prompt(1000))), max_tokens=500).max_tokens == 24
