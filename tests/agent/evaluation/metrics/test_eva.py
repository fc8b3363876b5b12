"""EVA's curves at the points its documentation lists."""

import math

import pytest

from agent.energy_gate import Segment
from agent.evaluation.metrics.eva import (
    EvaTurn,
    count_score,
    eva_score,
    eva_turns,
    latency_score,
    overlap_score,
    turn_score,
    yield_score,
)
from tests.agent.evaluation.scenes import spoken


@pytest.mark.parametrize(
    ("latency_ms", "plain", "with_tool"),
    [(-600, 0, 0), (-500, 0, 0), (0, 0.5, 0.5), (200, 0.7, 0.7), (500, 1, 1), (2000, 1, 1), (2750, 0.5, 1),
     (3000, 0.33, 1), (3500, 0, 0.75), (4000, 0, 0.5), (5000, 0, 0)],
)  # fmt: skip
def test_latency_curve(latency_ms: int, plain: float, with_tool: float) -> None:
    assert latency_score(latency_ms / 1000) == pytest.approx(plain, abs=0.005)
    assert latency_score(latency_ms / 1000, True) == pytest.approx(with_tool, abs=0.005)


def test_overlap_count_and_yield_curves() -> None:
    assert [overlap_score(s) for s in (0, 0.5, 1, 2, 3)] == pytest.approx([0.5, 0.375, 0.25, 0, 0])
    assert [count_score(n) for n in (1, 2, 3, 4)] == pytest.approx([0.5, 0.25, 0, 0])
    assert [yield_score(s) for s in (0, 0.6, 1, 2, 3)] == pytest.approx([1, 0.7, 0.5, 0, 0])


def test_a_brief_barge_in_followed_by_a_long_wait_scores_the_wait() -> None:
    user = spoken((2.0, 5.0))
    assert turn_score(EvaTurn(user, spoken((3.0, 3.2), (6.0, 8.0)))) == pytest.approx(0.45)
    assert turn_score(EvaTurn(user, spoken((3.0, 3.2), (8.3, 9.0)))) == pytest.approx(0.2 / 1.5)
    assert turn_score(EvaTurn(user, spoken((4.5, 8.0)))) == pytest.approx(0.375)  # spoke on: no wait to score
    both = EvaTurn(user, spoken((3.0, 3.2), (6.0, 8.0)), yield_s=1.5)
    assert turn_score(both) == pytest.approx(0.25)


def test_what_goes_on_after_a_breath_is_not_yet_yielded() -> None:
    (turn,) = eva_turns(spoken((3.0, 5.0)), spoken((1.0, 3.2), (3.5, 4.0), (5.6, 7.0)), 9.0)
    assert turn.yield_s == pytest.approx(1.0) and turn.agent == spoken((5.6, 7.0))
    assert turn_score(turn) == pytest.approx(0.5)


def test_a_call_of_three_turns() -> None:
    users = [Segment(2.0, 4.0), Segment(6.0, 7.0), Segment(10.0, 11.0), Segment(20.0, 21.0)]
    agent = spoken((0.0, 1.5), (5.0, 6.4), (7.2, 8.0), (13.9, 15.0))
    turns = eva_turns(users, agent, 25.0)
    assert [turn.yield_s for turn in turns] == [None, pytest.approx(0.4), None, None]
    score = eva_score(turns)  # the last has no answer and is left out
    assert score.per_turn == pytest.approx((1.0, 0.8, 0.4))
    assert score.score == pytest.approx(2.2 / 3)
    assert (score.late_rate, score.early_rate, score.on_time_rate) == pytest.approx((1 / 3, 0, 2 / 3))
    assert score.p50_latency_s == pytest.approx(1.0) and score.mean_yield_s == pytest.approx(0.4)
    assert eva_score(turns, is_last_missed=True).score == 0
    empty = eva_score([])
    assert empty.score == 0 and math.isnan(empty.p50_latency_s)
