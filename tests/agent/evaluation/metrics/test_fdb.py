"""Full-Duplex-Bench as its papers define it, on scenes with known truth."""

import pytest

from agent.energy_gate import Segment
from agent.evaluation.metrics.fdb import (
    Behaviour,
    backchannels,
    overlap,
    pause_handling,
    smooth_turn,
    timing,
    user_interruption,
)
from tests.agent.evaluation.scenes import spoken

USER = Segment(1.0, 5.0)
CUT = Segment(3.0, 5.0)


def test_a_pause_is_taken_by_a_second_of_speech_within_the_turn() -> None:
    assert pause_handling(USER, spoken((3.0, 4.1))).is_taken
    assert not pause_handling(USER, spoken((3.0, 3.9))).is_taken
    assert not pause_handling(USER, spoken((2.0, 2.4), (4.0, 4.4))).is_taken  # two murmurs
    assert not pause_handling(USER, spoken((0.0, 1.5), (5.3, 8.0))).is_taken  # greeting, and answer


def test_turn_latency_is_signed() -> None:
    assert smooth_turn(5.0, spoken((5.3, 7.0)), 1.0).latency_s == pytest.approx(0.3)
    assert smooth_turn(5.0, spoken((4.6, 7.0)), 1.0).latency_s == pytest.approx(-0.4)
    assert not smooth_turn(5.0, spoken((0.0, 2.0), (2.5, 3.8), (5.3, 5.9)), 1.0).is_taken


def test_an_opening_word_starts_its_answer() -> None:
    assert smooth_turn(5.0, spoken((5.3, 5.7), (6.4, 8.0))).latency_s == pytest.approx(0.3)
    assert smooth_turn(5.0, spoken((5.3, 5.7), (6.9, 8.0))).latency_s == pytest.approx(1.9)
    assert smooth_turn(5.0, spoken((4.0, 4.4), (5.3, 8.0))).latency_s == pytest.approx(0.3)  # a murmur before


def test_an_interruption_is_answered_only_after_a_stop() -> None:
    assert user_interruption(Segment(3.0, 4.0), spoken((1.0, 3.3), (4.1, 6.0))).latency_s == pytest.approx(
        0.1
    )
    assert user_interruption(CUT, spoken((1.0, 3.4), (5.3, 7.0))).latency_s == pytest.approx(0.3)
    assert not user_interruption(CUT, spoken((1.0, 9.0))).is_taken
    assert not user_interruption(CUT, spoken((1.0, 3.4))).is_taken


def test_a_listener() -> None:
    people = [0.0] * 5 + [1.0] * 2 + [0.0] * 43
    score = backchannels(spoken((1.0, 1.4), (6.0, 6.4)), 10.0, people)
    assert not score.is_taken and score.per_s == pytest.approx(0.2)
    assert score.divergence is not None and 0.1 < score.divergence < 0.5
    same = backchannels(spoken((1.0, 1.4)), 10.0, timing(spoken((1.0, 1.4)), 10.0)).divergence
    assert same == pytest.approx(0.0, abs=1e-9)
    never = backchannels(spoken((8.0, 8.4)), 10.0, people).divergence
    assert never == pytest.approx(1.0)
    assert backchannels([], 10.0, people).divergence is None
    assert backchannels(spoken((1.0, 1.4), (3.0, 4.2)), 10.0).is_taken


@pytest.mark.parametrize(
    ("model", "stop_s", "response_s", "behaviour"),
    [
        (spoken((1.0, 3.4), (5.6, 8.0)), 0.4, 0.6, Behaviour.RESPOND),
        (spoken((1.0, 9.0)), 6.0, None, Behaviour.RESUME),
        (spoken((1.0, 3.6), (4.0, 7.0)), 4.0, None, Behaviour.RESUME),  # a breath is no stop
        (spoken((1.0, 3.4)), 0.4, None, Behaviour.UNKNOWN),
        (spoken((1.0, 5.4)), 2.4, None, Behaviour.RESUME),  # spoke to its own end
        (spoken((1.0, 3.4), (4.2, 8.0)), 0.4, -0.8, Behaviour.UNCERTAIN),
    ],
)
def test_speech_over_the_models_own(
    model: list[Segment], stop_s: float, response_s: float | None, behaviour: Behaviour
) -> None:
    found = overlap(CUT, model)
    assert found.stop_s == pytest.approx(stop_s) and found.behaviour is behaviour
    assert found.response_s == (None if response_s is None else pytest.approx(response_s))


def test_a_silent_model_is_not_scored() -> None:
    assert not overlap(CUT, spoken((0.0, 2.0), (5.5, 7.0))).is_eligible
