"""What an operator reads when ranks cannot meet over RDMA."""

import pytest

from services.runner.groups.diagnosis import diagnosed


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("[jaccl] Couldn't create queue pair errno 16", "all ten queue pairs"),
        ("[jaccl] Changing queue pair to RTR failed with errno 60", "cannot be reached"),
        ("[jaccl] Changing queue pair to RTR failed with errno 22", "wrong address index (GID)"),
        ("[jaccl] Couldn't allocate protection domain", "port is down"),
        ("rdma_en2 PORT_DOWN", "port is down"),
        ("[jaccl] Creating a queue pair failed with error: 102", "the same macOS"),
    ],
)
def test_a_known_fault_is_said_in_words_with_what_to_do(words: str, meant: str) -> None:
    said = diagnosed(words)
    assert meant in said
    assert "docs/jaccl.md" in said
    assert words in said


@pytest.mark.parametrize(
    "words", ["SIGKILL", "[ring] connection to a peer was lost", "[jaccl] went away, errno 999"]
)
def test_what_is_not_known_stays_as_it_is(words: str) -> None:
    assert diagnosed(words) == words
