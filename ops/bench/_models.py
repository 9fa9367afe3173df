"""What is served while we measure: the tiny model of the tests, and words to ask it."""

import json
import random
import subprocess
import sys
from pathlib import Path

from ops.bench._children import ROOT

BUNDLED = "smollm2"
Message = dict[str, str]

_FREQUENT = """
    the and that with from this have they which one would there their what about when make
    like time just know take people into year good some could them see other than then now
    look only come over think also back after work first well even want because give most
"""


def tiny(folder: Path, context_length: int = 8192) -> Path:
    """A random llama of two layers; no answer of it ends before its last token."""
    return _random(folder / "tiny-llama", context_length)


def grown(folder: Path, context_length: int = 8192) -> Path:
    """The same of twelve layers and 75 million weights, a step of which takes tens of ms here."""
    return _random(folder / "grown-llama", context_length, 12, 48, 8, 2048)


def _random(made: Path, context_length: int, *shape: int) -> Path:
    subprocess.run(
        [sys.executable, str(ROOT / "tests" / "tiny.py"), str(made), *map(str, shape)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    config = json.loads((made / "config.json").read_text())
    config["max_position_embeddings"] = context_length
    (made / "config.json").write_text(json.dumps(config))
    return made


def prompt(mark: str, words: int) -> list[Message]:
    """A question that differs from that of any other mark from its first word on.

    The mark stands in a system message, so that no prefix cache knows the prompt
    and no chat template puts a common one before it.
    """
    return [
        {"role": "system", "content": f"{mark} is your name. Be brief."},
        {"role": "user", "content": text(mark, words)},
    ]


def brief(mark: str) -> list[Message]:
    """The shortest such question, where decoding is measured: prompts are dear without Metal."""
    return [
        {"role": "system", "content": mark},
        {"role": "user", "content": "Tell a long story."},
    ]


def text(mark: str, words: int) -> str:
    return " ".join(random.Random(mark).choices(_FREQUENT.split(), k=words))
