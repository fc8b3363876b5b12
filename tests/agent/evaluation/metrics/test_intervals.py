"""Intervals against published values, and against what they must do with calls that differ."""

import math

import numpy as np
import pytest

from agent.evaluation.metrics.intervals import MIN_TRIALS, mean, percentile, rate, rate_by_call, wilson


@pytest.mark.parametrize(
    ("num_right", "num", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17:857 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(num_right: int, num: int, low: float, high: float) -> None:
    assert wilson(num_right, num) == pytest.approx((low, high), abs=6e-5)


def test_no_trial_tells_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    figure = rate(0, 0, 7)
    assert math.isnan(figure.value) and not figure.is_enough and figure.num_attempted == 7
    assert math.isnan(percentile([[], []], 50).value)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="5 right of 4"):
        rate(5, 4)
    with pytest.raises(ValueError, match="attempted"):
        rate(3, 4, 3)


def test_a_row_says_whether_enough_trials_stand_behind_it() -> None:
    assert not rate(99, MIN_TRIALS - 1, 400).is_enough
    assert rate(99, MIN_TRIALS, 400).is_enough


def test_calls_are_drawn_and_not_their_turns() -> None:
    rng = np.random.default_rng(1)
    calls = [[float(level)] * 20 for level in rng.normal(0.4, 0.1, 12)]  # no spread within a call
    by_call = mean(calls)
    by_turn = mean([[value] for call in calls for value in call])
    assert by_call.value == pytest.approx(by_turn.value)
    assert by_call.high - by_call.low > 3 * (by_turn.high - by_turn.low)
    assert by_call == mean(calls)  # the seed is fixed


def test_one_call_tells_nothing_of_others() -> None:
    figure = percentile([[0.3, 0.4, 0.5], []], 50)
    assert figure.value == pytest.approx(0.4) and math.isnan(figure.low) and math.isnan(figure.high)
    assert rate_by_call([[True, False]]) == rate(1, 2)


def test_the_interval_of_a_mean_covers_the_truth_about_19_times_of_20() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(30):
        figure = mean([[value] for value in rng.normal(0.3, 0.05, 40)])
        hits += figure.low <= 0.3 <= figure.high
    assert 25 <= hits <= 30


def test_a_perfect_rate_keeps_its_doubt_and_clusters_widen_it() -> None:
    perfect = rate_by_call([[True] * 3] * 10)
    assert perfect.value == 1.0 and perfect.low == pytest.approx(wilson(30, 30)[0])
    split = rate_by_call([[True] * 10] * 5 + [[False] * 10] * 5)
    low, high = wilson(50, 100)
    assert split.low < low and split.high > high
