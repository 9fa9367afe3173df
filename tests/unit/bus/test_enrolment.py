"""What an engine is called that nobody gave a name."""

import pytest

from bus.enrolment import free_name
from proto.config import ProviderKind
from proto.enrolment import Recognised


@pytest.mark.parametrize(
    ("kind", "taken", "expected"),
    [
        ("ollama", (), "ollama"),
        ("ollama", ("ollama",), "ollama-mac-studio-local"),
        ("ollama", ("ollama", "ollama-mac-studio-local"), "ollama-mac-studio-local-2"),
        ("openai-compatible", (), "other"),
    ],
)
def test_it_is_named_after_its_make_then_its_machine_then_by_number(
    kind: ProviderKind, taken: tuple[str, ...], expected: str
) -> None:
    url = "http://Mac_Studio.local:11434/v1"

    assert free_name(Recognised(kind=kind, title="", url=url, models=()), taken) == expected
