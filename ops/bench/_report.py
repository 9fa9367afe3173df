"""What was measured, what was aimed at, and whether it was met."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from statistics import median
from typing import Any

import psutil

RATIO = "×"
"""The unit of what compares two sides of one run."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    name: str
    value: float
    unit: str = RATIO
    at_least: float | None = None
    at_most: float | None = None

    @property
    def has_aim(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def is_met(self) -> bool:
        """True also where nothing is aimed at; what could not be measured (NaN) is not met."""
        if self.at_least is not None and not self.value >= self.at_least:
            return False
        return self.at_most is None or self.value <= self.at_most

    @property
    def aim(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"


@dataclass
class Report:
    name: str
    notes: list[str] = field(default_factory=list)
    """What a reader must know to read the figures right."""
    figures: list[Figure] = field(default_factory=list)

    def add(
        self,
        name: str,
        value: float,
        unit: str = RATIO,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        self.figures.append(
            Figure(name=name, value=value, unit=unit, at_least=at_least, at_most=at_most)
        )

    @property
    def is_met(self) -> bool:
        return all(figure.is_met for figure in self.figures)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ratios": {f.name: _rounded(f.value) for f in self.figures if f.unit == RATIO},
            "aims": {
                f.name: {"aim": f.aim, "value": _rounded(f.value), "unit": f.unit, "met": f.is_met}
                for f in self.figures
                if f.has_aim
            },
            "met": self.is_met,
            "machine": machine(),
            "figures": {
                f.name: {"value": _rounded(f.value), "unit": f.unit}
                for f in self.figures
                if f.unit != RATIO
            },
            "notes": self.notes,
        }

    def as_text(self) -> str:
        width = max((len(figure.name) for figure in self.figures), default=0)
        lines = [self.name, *(_line(figure, width) for figure in self.figures), ""]
        lines += self.notes
        lines += [", ".join(f"{name} {value}" for name, value in machine().items())]
        return "\n".join(lines)

    def close(self, *, as_json: bool) -> int:
        """Print it; the exit status is 0 only when every aim is met."""
        print(json.dumps(self.as_json()) if as_json else self.as_text())
        return 0 if self.is_met else 1


def parser(name: str, about: str, rounds: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"odyssai bench {name}", description=about)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="turns of every side (default: %(default)s)"
    )
    return parser


def say(line: str) -> None:
    """Progress; the report alone goes to standard output."""
    print(line, file=sys.stderr, flush=True)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round, whose two sides met the same neighbours."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> dict[str, str | int | float]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "mlx": _version("mlx"),
        "mlx_lm": _version("mlx-lm"),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _rounded(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else float(f"{value:.4g}")


def _line(figure: Figure, width: int) -> str:
    verdict = ("met" if figure.is_met else "MISSED") if figure.has_aim else ""
    value = f"{figure.value:,.4g}" if figure.value < 1000 else f"{figure.value:,.0f}"
    return (
        f"  {figure.name:{width}}  {value:>9} {figure.unit:9} {figure.aim:9} {verdict}"
    ).rstrip()
