"""How sure a figure is: Wilson's interval for rates, bootstrap over whole calls for everything else.

Turns of one call share its voice, its noise and its state, so the calls are drawn, not the turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Sample = NDArray[np.float64]
Statistic = Callable[[Sample], float]

MIN_TRIALS = 100  # fewer eligible trials give a figure, but no verdict
CONFIDENCE = 0.95
NUM_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval and what it rests on; NaN throughout where nothing was eligible."""

    value: float
    low: float
    high: float
    num_eligible: int
    num_attempted: int

    @property
    def is_enough(self) -> bool:
        """At least 100 eligible trials stand behind it."""
        return self.num_eligible >= MIN_TRIALS


def wilson(num_right: int, num: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a rate (J. Am. Stat. Assoc. 22:209, 1927); (0, 1) for no trials."""
    if not 0 <= num_right <= num:
        raise ValueError(f"{num_right} right of {num}: count each eligible trial once")
    if not num:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, weight = num_right / num, z * z / num
    middle = (share + weight / 2) / (1 + weight)
    reach = z * math.sqrt(share * (1 - share) / num + weight / (4 * num)) / (1 + weight)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def rate(num_right: int, num_eligible: int, num_attempted: int | None = None) -> Estimate:
    """A rate of trials that do not share a call."""
    attempted = num_eligible if num_attempted is None else num_attempted
    if attempted < num_eligible:
        raise ValueError(
            f"{num_eligible} eligible of {attempted} attempted: a trial is attempted before it counts"
        )
    if not num_eligible:
        return _nothing(attempted)
    low, high = wilson(num_right, num_eligible)
    return Estimate(num_right / num_eligible, low, high, num_eligible, attempted)


def rate_by_call(calls: Sequence[Sequence[bool]], num_attempted: int | None = None) -> Estimate:
    """A rate whose trials come several to a call: the wider of Wilson's and the calls' bootstrap interval.

    The bootstrap alone is too narrow near 0 and 1 (at 30 of 30 it has no width), Wilson's where trials
    cluster.
    """
    flags = [flag for call in calls for flag in call]
    plain = rate(sum(flags), len(flags), num_attempted)
    if not flags:
        return plain
    drawn = estimate([[float(flag) for flag in call] for call in calls], _mean)
    if math.isnan(drawn.low):
        return plain
    return Estimate(
        plain.value, min(plain.low, drawn.low), max(plain.high, drawn.high), len(flags), plain.num_attempted
    )


def estimate(
    calls: Sequence[Sequence[float]],
    statistic: Statistic,
    num_attempted: int | None = None,
    *,
    seed: int = 0,
) -> Estimate:
    """`statistic` of all values, with the 95 % percentile interval over calls drawn with replacement.

    `calls[i]` holds the eligible values of call i. Calls without any are drawn too: they make the interval
    wider, as they should. One call alone tells nothing of others: its interval is NaN.
    """
    groups = [np.asarray(call, np.float64) for call in calls]
    sample = np.concatenate(groups) if groups else np.empty(0)
    attempted = len(sample) if num_attempted is None else num_attempted
    if not len(sample):
        return _nothing(attempted)
    if sum(len(group) > 0 for group in groups) < 2:
        return Estimate(statistic(sample), math.nan, math.nan, len(sample), attempted)
    rng = np.random.default_rng(seed)
    drawn = []
    for picks in rng.integers(len(groups), size=(NUM_DRAWS, len(groups))):
        draw = np.concatenate([groups[pick] for pick in picks])
        if len(draw):
            drawn.append(statistic(draw))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Estimate(statistic(sample), float(low), float(high), len(sample), attempted)


def percentile(
    calls: Sequence[Sequence[float]], percent: float, num_attempted: int | None = None
) -> Estimate:
    """The percentile of all values (linear between ranks), by call."""
    return estimate(calls, lambda sample: float(np.percentile(sample, percent)), num_attempted)


def mean(calls: Sequence[Sequence[float]], num_attempted: int | None = None) -> Estimate:
    """The mean of all values, by call."""
    return estimate(calls, _mean, num_attempted)


def _mean(sample: Sample) -> float:
    return float(sample.mean())


def _nothing(num_attempted: int) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, 0, num_attempted)
