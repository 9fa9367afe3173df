"""Who runs: sequences whose prompts are read or whose answers are decoded, and what they hold."""

from collections.abc import Iterator

from services.runner.engine.batching.decoding import Decoder
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.caching.cache import Cache


class Running:
    """Changed by the model's thread alone; looked through by any, since that goes over a copy."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.reading: list[Sequence] = []
        """In order of arrival."""
        self.answering: dict[int, Sequence] = {}
        """By the decoder's number."""

    def __len__(self) -> int:
        return len(self.reading) + len(self.answering)

    def __iter__(self) -> Iterator[Sequence]:
        return iter([*list(self.reading), *list(self.answering.values())])

    @property
    def held_bytes(self) -> int:
        """Of all KV caches."""
        reading = (layer for sequence in self.reading for layer in sequence.cache or ())
        return self.decoder.nbytes + int(sum(layer.nbytes for layer in reading))

    def pausable(self) -> list[Sequence]:
        """A newcomer to the decoding batch has to make its first step there."""
        answering = self.answering.items()
        return [*self.reading, *(s for n, s in answering if not self.decoder.is_newcomer(n))]

    def pause(self, sequence: Sequence) -> tuple[list[int], Cache] | None:
        """Out of those that run; the tokens that it has in its KV cache, if it has one.

        It goes on later with what it has read and said until now.
        """
        number = next((n for n, s in self.answering.items() if s is sequence), None)
        if number is None:
            self.reading.remove(sequence)
            tokens, cache = sequence.prompt[: sequence.done], sequence.cache
        else:
            del self.answering[number]
            sequence.pending = self.decoder.pending(number, sequence.logprobs is not None)
            cache, tokens = self.decoder.leave([number])[number]
            sequence.prompt = tokens
        sequence.pause()
        return None if cache is None else (tokens, cache)
