"""A process becomes a rank: it meets the others, loads its part, and makes sure that all agree."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, make_prompt_cache

from proto.group import Backend, Group, RankPhase
from services.runner.engine.caching.prefix_cache import PrefixCache, is_plain
from services.runner.engine.caching.radix_cache import RadixCache, token_bytes
from services.runner.engine.caching.snapshot_cache import SnapshotCache
from services.runner.engine.group.line import GroupLost, Line, in_step
from services.runner.engine.group.splitting import splitting
from services.runner.engine.loading import LoadedModel, load, locate
from services.runner.engine.not_loadable import NotLoadable

Tell = Callable[[RankPhase, str], None]
"""Of a phase; once the files are known, with their checksum."""

MEET_S = 8.0
"""In which ranks that were all heard a moment ago meet, or one of them is gone."""
PROOF_PROMPT = tuple(range(5, 21))
PROOF_TOKENS = 8
WORDS = 8
"""32-bit words of a checksum that ranks compare."""


def _nobody(phase: RankPhase, files: str) -> None:
    """Hears nothing."""


def _sleepless() -> None:
    """Has let nobody rest."""


@dataclass(frozen=True)
class Joined:
    """A rank that is ready for the leader's word."""

    loaded: LoadedModel
    line: Line
    proof: tuple[int, ...]
    """What all ranks said to the same prompt."""
    token_bytes: int
    """What a token counts with in every rank's prefix cache; 0: layers are not all plain KV."""
    is_even: bool
    """All ranks' caches are of one size."""
    is_over_rdma: bool

    def prefix_cache(self) -> PrefixCache:
        """Empty, and allowed nothing yet. It decides as those of all other ranks do."""
        model = self.loaded.model
        if is_plain(model):
            return RadixCache(model, 0, self.token_bytes)
        return SnapshotCache(model, 0)

    def cache_limit(self, limit_bytes: int) -> int:
        """What every rank may keep where the leader could keep so much: snapshots of unequal sizes
        would be given up at different times.
        """
        return limit_bytes if self.is_even or self.token_bytes else 0


def join(
    group: Group,
    source: str,
    home: Path,
    versions: str,
    tell: Tell = _nobody,
    wake: Callable[[], None] = _sleepless,
) -> Joined:
    """Where the others are, the process's environment says. ``tell`` hears of each phase; ``wake``
    is for a leader that has let the others rest.

    Raises NotLoadable, and GroupLost where the others cannot be met.
    """
    tell("connecting", "")
    line = Line(_met(group.backend), wake)
    folder = locate(source, home).folder
    tell("loading", "")
    files = checksum(folder, versions)
    _expect_equal(
        line.of_all(_words(files)),
        "hold different files of this model, or different versions of the software: `odyssai sync` "
        "makes files the same, `odyssai doctor` tells versions",
    )
    loaded = load(source, home, split=splitting(group, line.group))
    tell("verifying", files.hex())
    return _agreed(loaded, line, is_over_rdma=group.backend == "jaccl")


def _met(backend: Backend) -> mx.distributed.Group:
    try:
        with _ended_after(MEET_S):
            return mx.distributed.init(strict=True, backend=backend)
    except RuntimeError as trouble:
        raise GroupLost(f"the ranks cannot meet over {backend}: {trouble}") from trouble


@contextmanager
def _ended_after(limit_s: float) -> Iterator[None]:
    """The process ends by SIGALRM where the block takes longer: mlx waits for ever for a rank that
    is gone, and lets no other thread run meanwhile.
    """
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _agreed(loaded: LoadedModel, line: Line, *, is_over_rdma: bool) -> Joined:
    """All ranks say the same. Raises NotLoadable where they do not, on every rank."""
    with in_step():
        tokens, taken = _answer(loaded)
    _expect_equal(
        line.of_all(tokens),
        "compute different answers from the same files: check that all machines run the same "
        "versions of macOS and mlx",
    )
    of_all = [part[0] for part in line.of_all([taken])]
    is_even = len(set(of_all)) == 1
    return Joined(loaded, line, tuple(tokens), of_all[0], is_even, is_over_rdma)


def checksum(folder: Path, versions: str) -> bytes:
    """Of what ranks must have in common: settings, tokenizer, layout and a sample of weights."""
    known = sha256(versions.encode())
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".jinja", ".model", ".txt"):
            known.update(file.name.encode() + file.read_bytes())
        elif file.suffix == ".safetensors":
            known.update(f"{file.name} {file.stat().st_size}".encode())
            _sample(file, known)
    return known.digest()


SAMPLE_BYTES = 1 << 16
SAMPLES = 16
"""Places of a file of weights, its header among them: all of it would take minutes."""


def _sample(file: Path, known: Any) -> None:
    size = file.stat().st_size
    with file.open("rb") as weights:
        for at in range(SAMPLES):
            weights.seek(size * at // SAMPLES)
            known.update(weights.read(SAMPLE_BYTES))


def _words(digest: bytes) -> list[int]:
    # mlx gathers 32-bit numbers; signs do not matter.
    parts = [digest[at : at + 4] for at in range(0, 4 * WORDS, 4)]
    return [int.from_bytes(part, signed=True) for part in parts]


def _expect_equal(of_all: list[list[int]], trouble: str) -> None:
    others = [rank for rank, said in enumerate(of_all) if said != of_all[0]]
    if others:
        ranks = ", ".join(map(str, others))
        raise NotLoadable(f"rank 0 and rank {ranks} {trouble}")


def _answer(loaded: LoadedModel) -> tuple[list[int], int]:
    """A few tokens, each rank by its own logits, and what a token takes in a plain KV cache."""
    cache = make_prompt_cache(loaded.model)
    inputs = [token % loaded.vocab_size for token in PROOF_PROMPT]
    tokens: list[int] = []
    for _ in range(PROOF_TOKENS):
        logits = loaded.model(mx.array([inputs]), cache=cache)
        drawn = mx.argmax(logits[0, -1])
        mx.eval(drawn, [layer.state for layer in cache])
        token: Any = drawn.item()
        inputs = [token]
        tokens += inputs
    is_kv = all(isinstance(layer, KVCache) for layer in cache)
    return tokens, token_bytes(cache) if is_kv else 0
