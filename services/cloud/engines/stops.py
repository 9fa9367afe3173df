"""Stop strings of an engine that knows none, found in what it says."""

from collections.abc import Sequence


class Stops:
    """Text goes through once it cannot be the beginning of a stop string any more."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.is_met = False
        """Nothing of what comes now is part of the answer."""

    def through(self, text: str) -> str:
        said = self._held + text
        found = [at for at in map(said.find, self._stops) if at >= 0]
        if found:
            self.is_met = True
            self._held = ""
            return said[: min(found)]
        keep = max((_overlap(said, stop) for stop in self._stops), default=0)
        self._held = said[len(said) - keep :]
        return said[: len(said) - keep]

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(said: str, stop: str) -> int:
    """The most characters at the end that may begin the stop string."""
    longest = min(len(said), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if said.endswith(stop[:n])), 0)
