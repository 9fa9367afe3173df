"""Text cut at markers, however the markers are spread over the pieces that it comes in.

mlx-lm's state machine finds them; it holds text back for as long as any marker
may overlap it, which here is never more than the longest beginning of one.
"""

from typing import Any

from mlx_lm.generate import TextStateMachine

NORMAL, REASONING, TOOL, HEADER = "normal", "reasoning", "tool", "header"
"""mlx-lm's names of what a model's text may be. A header's text is for nobody."""
Edges = dict[str, list[tuple[str, str]]]
"""For each state the markers that end it, and the states that they lead to."""


class Machine:
    """The markers of one kind of text. Holds nothing of any particular one."""

    def __init__(self, edges: Edges) -> None:
        targets = {target for state in edges.values() for _, target in state}
        complete = {state: edges.get(state, []) for state in {*edges, *targets, NORMAL}}
        self._machine = TextStateMachine(complete)
        self.has_markers = any(complete.values())
        self.longest_start = {
            state: max((len(marker) for marker, _ in markers), default=1) - 1
            for state, markers in complete.items()
        }

    def begin(self, state: str) -> Any:
        return self._machine.make_state(state)


class Splitter:
    """One text, cut while it arrives."""

    def __init__(self, machine: Machine, state: str = NORMAL) -> None:
        self._longest_start = machine.longest_start
        self._at = machine.begin(state)

    @property
    def state(self) -> str:
        return str(self._at[0])

    @property
    def held(self) -> str:
        """What may be the beginning of a marker."""
        return str(self._at[3])

    def push(self, text: str) -> list[tuple[str, str]]:
        """The states passed, each with its text; the last one is the present state."""
        if not text:
            return [(self.state, "")]
        self._at, segments = TextStateMachine.split(self._at, text)
        name, node, states, held = self._at
        surplus = len(held) - self._longest_start[name]
        if surplus > 0:
            self._at = (name, node, states, held[surplus:])
            segments[-1] = (name, segments[-1][1] + held[:surplus])
        return list(segments)

    def flush(self) -> str:
        """What was held back, now that nothing more will come."""
        self._at, held, _ = TextStateMachine.flush(self._at)
        return str(held)


class Stop:
    """Lets text through up to the first stop string; holds back what may be the start of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._machine = Machine({NORMAL: [(stop, "stopped") for stop in stops]})
        self._splitter = Splitter(self._machine)

    def push(self, text: str) -> tuple[str, str | None]:
        """The text now certain, and the stop string if it was met."""
        if not text:
            return "", None
        whole = self._splitter.held + text
        segments = self._splitter.push(text)
        passed = segments[0][1]
        if len(segments) == 1:
            return passed, None
        rest = segments[1][1]
        return passed, whole[len(passed) : len(whole) - len(rest)]

    def flush(self) -> str:
        """What was held back; stop strings do not reach beyond it."""
        held = self._splitter.flush()
        self._splitter = Splitter(self._machine)
        return held
