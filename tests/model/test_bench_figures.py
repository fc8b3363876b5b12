"""How many calls fit, as far as was measured; what is asked for, and what is told."""

import argparse
import json
from dataclasses import replace
from fractions import Fraction

import pytest

from model.bench_figures import (
    BenchFigures,
    BenchRow,
    Capacity,
    Times,
    add_arguments,
    capacity,
    cells,
    columns,
    conclusions,
    head,
    options_of,
)
from model.errors import ConfigError

ROW = BenchRow(2, 1500, 1610.5, 200, Times(0.02, 0.03, 0.04), 0.019, 2e9, 0.005, 10**9)
SHEET = BenchFigures("builtin, full size", "a CPU", "torch", 4e11, "best of 10", 7, [ROW])


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "points, found",
    [
        ([(1, 0.01), (8, 0.05)], Capacity(8, True)),  # nothing is told beyond what was measured
        ([(1, 0.01), (8, 0.08)], Capacity(8, True)),
        ([(1, 0.02), (2, 0.04), (4, 0.12)], Capacity(3, False)),
        ([(1, 0.02), (2, 0.09), (4, 0.03)], Capacity(1, False)),  # the first over the limit counts
        ([(4, 0.09)], Capacity(0, False)),
        ([], Capacity(0, False)),
    ],
)
def test_capacity(points: list[tuple[int, float]], found: Capacity) -> None:
    assert capacity(points, 0.08) == found


def test_conclusions_are_no_bolder_than_the_rows() -> None:
    slow = replace(ROW, batch=4, wall=Times(0.1, 0.13, 0.2), cpu_s=0.1)
    sheet = replace(SHEET, rows=[slow, ROW, replace(ROW, context=0)])
    fresh, old = conclusions(sheet, with_cores=True)
    assert fresh == (
        "context 0: calls with p99 <= 80 ms: at least 2; calls per core (CPU <= 64 ms a tick): at least 2"
    )
    assert old == "context 1500: calls with p99 <= 80 ms: 3; calls per core (CPU <= 64 ms a tick): 3"
    assert "core" not in conclusions(sheet, with_cores=False)[0]


def test_figures_survive_json() -> None:
    both = replace(ROW, batch=4, reference=Times(0.04, 0.05, 0.06), reference_peak_bytes=5)
    sheet = replace(SHEET, rows=[ROW, both])
    told = json.loads(json.dumps(sheet.as_json() | {"note": "of today"}))
    assert BenchFigures.from_json(told) == sheet
    with pytest.raises(ConfigError, match="bandwidth"):
        BenchFigures.from_json({name: value for name, value in told.items() if "bandwidth" not in name})


def test_the_table_has_a_cell_for_each_heading() -> None:
    both = replace(ROW, reference=Times(0.05, 0.06, 0.07), reference_cpu_s=0.04)
    assert cells(ROW)[:7] == ("1500", "2", "20.00", "30.00", "40.00", "19.00", "5.00")
    assert len(cells(ROW)) == len(columns(SHEET))
    assert len(cells(both)) == len(columns(replace(SHEET, rows=[both])))
    assert both.over_floor == pytest.approx(4) and cells(both)[-1] == "2.50"
    assert "400.0 GB/s" in "\n".join(head(SHEET))


def test_what_is_asked_for() -> None:
    options = options_of(asked("--batch", "8,1", "--width", "1/16", "--context", "0,30"))
    assert (options.batches, options.contexts, options.width) == ((1, 8), (0, 30), Fraction(1, 16))


@pytest.mark.parametrize(
    "words, named",
    [
        (("--batch", "two"), "--batch"),
        (("--batch", "0"), "--batch"),
        (("--context", "-1"), "--context"),
        (("--width", "2"), "--width"),
        (("--width", "1/0"), "--width"),
        (("--steps", "0"), "--steps"),
    ],
)
def test_what_cannot_be_asked_for_is_named(words: tuple[str, ...], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        options_of(asked(*words))
