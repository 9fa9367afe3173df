"""How far a job is, while it changes: bars on a terminal, lines elsewhere, or records as JSON."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from ops.words import duration, progress, size
from proto.ids import NodeId
from proto.jobs import Job, NodeProgress
from proto.overview import job_view

if TYPE_CHECKING:
    # It takes time, and only a terminal needs it.
    from rich.progress import Progress, ProgressColumn, Task, TaskID

Show = Callable[[Job], None]

STEP = 10
"""Per cent between two lines about one transfer, so that a log stays short."""


@contextmanager
def records() -> Iterator[Show]:
    """Every change as one line of JSON."""

    def show(job: Job) -> None:
        print(msgspec.json.encode(job_view(job)).decode(), flush=True)

    yield show


@contextmanager
def lines() -> Iterator[Show]:
    """One line whenever a node does something else, or is further by a step."""
    said: dict[int, tuple[str, int]] = {}

    def show(job: Job) -> None:
        # By place: a node may do several things for one job.
        for place, node in enumerate(job.nodes):
            now = (node.phase, _steps(node))
            if said.get(place) != now:
                said[place] = now
                print(progress(node), flush=True)

    yield show


def _steps(node: NodeProgress) -> int:
    return 100 * node.done_bytes // node.total_bytes // STEP if node.total_bytes else 0


@contextmanager
def bars() -> Iterator[Show]:
    """A bar for each thing that a node does, with bytes, speed and how long it may still take."""
    from rich.progress import BarColumn, Progress, TextColumn

    drawn: list[TaskID] = []
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), _figures())
    with Progress(*columns) as all_bars:

        def show(job: Job) -> None:
            for place, node in enumerate(job.nodes or (_nowhere_yet(job),)):
                if place == len(drawn):
                    drawn.append(all_bars.add_task(""))
                _draw(all_bars, drawn[place], node)

        yield show


def _nowhere_yet(job: Job) -> NodeProgress:
    return NodeProgress(node=NodeId(""), phase=job.phase)


def _draw(all_bars: "Progress", bar: "TaskID", node: NodeProgress) -> None:
    # Where bytes move, the bar tells more than the name of the file.
    what = " ".join(filter(None, (node.node, node.phase, "" if node.total_bytes else node.detail)))
    total = node.total_bytes or None
    all_bars.update(bar, description=what, total=total, completed=node.done_bytes)


def _figures() -> "ProgressColumn":
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Figures(ProgressColumn):
        def render(self, task: "Task") -> Text:
            return Text(figures(task.completed, task.total, task.speed, task.time_remaining))

    return Figures()


def figures(
    done: float, total: float | None, speed: float | None, remaining_s: float | None
) -> str:
    """Bytes, bytes a second and the time that is left, as far as they are known."""
    if not total:
        return ""
    told = [f"{size(int(done))} of {size(int(total))}"]
    if speed:
        told.append(f"{size(int(speed))}/s")
    if remaining_s:
        told.append(f"{duration(remaining_s)} left")
    return " · ".join(told)
