"""Aims, exit status, and the shape of the JSON."""

import json

import pytest

from ops.bench._report import Report, paired, percentile


def filled(value: float) -> Report:
    report = Report("engine", ["shared cores"])
    report.add("smollm2 × 4", value, at_least=0.95)
    report.add("tiny × 4", 0.5)
    report.add("added p50", 1.2, "ms", at_most=2)
    return report


def test_the_exit_status_is_zero_only_if_every_aim_is_met() -> None:
    assert filled(0.95).close(as_json=True) == 0
    assert filled(0.94).close(as_json=True) == 1


def test_what_could_not_be_measured_is_not_met() -> None:
    assert not filled(float("nan")).is_met


def test_json_has_the_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    filled(0.94).close(as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert {"name", "ratios", "aims", "met", "machine"} <= said.keys()
    assert said["ratios"] == {"smollm2 × 4": 0.94, "tiny × 4": 0.5}
    assert said["aims"]["smollm2 × 4"] == {
        "aim": "≥ 0.95", "value": 0.94, "unit": "×", "met": False
    }  # fmt: skip
    assert said["aims"]["added p50"]["met"]
    assert not said["met"]


def test_the_table_names_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    filled(0.94).close(as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("MISSED")] == ["smollm2"]


def test_rounds_are_compared_with_their_own_neighbours() -> None:
    assert paired([10.0, 1.0, 6.0], [10.0, 1.0, 5.0]) == 1.0


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
