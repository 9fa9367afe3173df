"""What several tenants' users say, and when: the same for every run with the same seed."""

import random
from dataclasses import dataclass

from ops.bench._models import text


@dataclass(frozen=True)
class Extent:
    tenants: int
    sessions: int
    turns: int
    """Questions of a conversation."""
    system_words: int
    question_words: int
    answer_tokens: int
    gap_s: float
    """Mean time between two conversations' beginnings."""
    pause_s: float
    """Mean time between an answer and the next question."""


@dataclass(frozen=True)
class Question:
    words: str
    after_s: float
    """The pause before it."""


@dataclass(frozen=True)
class Conversation:
    session: str
    system: str
    """Shared with every other conversation of its tenant."""
    starts_s: float
    """After the first one."""
    questions: tuple[Question, ...]


def conversations(extent: Extent, seed: int = 1) -> list[Conversation]:
    """In the order of their beginnings, which come as by chance; tenants as well."""
    rng = random.Random(seed)
    systems = [
        f"You work for tenant {tenant}. {text(f'system {tenant}', extent.system_words)}"
        for tenant in range(extent.tenants)
    ]
    made: list[Conversation] = []
    at_s = 0.0
    for number in range(extent.sessions):
        pauses = [0.0] + [rng.expovariate(1 / extent.pause_s) for _ in range(extent.turns - 1)]
        questions = tuple(
            Question(text(f"{number}, question {turn}", extent.question_words), pause_s)
            for turn, pause_s in enumerate(pauses)
        )
        made.append(Conversation(f"session-{number}", rng.choice(systems), at_s, questions))
        at_s += rng.expovariate(1 / extent.gap_s)
    return made
