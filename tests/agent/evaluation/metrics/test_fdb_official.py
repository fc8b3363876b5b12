"""Each quirk of the published scripts, beside what the paper's definition gives for the same sound."""

import math

import pytest

from agent.energy_gate import Segment
from agent.evaluation.metrics import fdb
from agent.evaluation.metrics.fdb_official import (
    Word,
    after_crop,
    backchannels,
    response_intervals,
    stop_intervals,
    take_over,
    user_interruption,
    words_from,
)
from tests.agent.evaluation.scenes import spoken

USER = Segment(1.0, 5.0)
CUT = Segment(3.0, 5.0)


def test_two_murmurs_far_apart_are_a_take_over() -> None:
    model = spoken((2.0, 2.3), (4.0, 4.3))
    assert take_over(words_from(model)).is_taken
    assert not fdb.pause_handling(USER, model).is_taken


def test_a_greeting_before_the_user_is_a_take_over() -> None:
    model = spoken((0.0, 0.6), (0.7, 1.3))
    assert take_over(words_from(model)).is_taken
    assert not fdb.pause_handling(Segment(1.2, 5.0), model).is_taken


def test_the_fourth_word_makes_a_short_span_a_take_over() -> None:
    words = [Word(2 + 0.2 * k, 2.1 + 0.2 * k, "so") for k in range(4)]
    assert take_over(words).is_taken and not take_over(words[:3]).is_taken
    assert not take_over([]).is_taken
    assert not take_over([Word(2.0, 2.2, "mm"), Word(2.8, None, "hm")]).is_taken  # an end the recogniser lost


def test_a_premature_start_reads_as_no_latency() -> None:
    model = spoken((4.0, 8.0))
    assert take_over(words_from(model), 5.0).latency_s == 0.0
    assert fdb.smooth_turn(5.0, model, 1.0).latency_s == pytest.approx(-1.0)


def test_never_stopping_reads_as_a_perfect_answer() -> None:
    model = spoken((1.0, 9.0))
    words = [Word(1 + 0.25 * k, 1.25 + 0.25 * k, "la") for k in range(32)]
    answered = user_interruption(CUT.end_s, words)
    assert answered.is_taken and answered.latency_s is not None and answered.latency_s < 0.01
    assert not fdb.user_interruption(CUT, model).is_taken
    assert after_crop([Word(4.9, 5.2, "word"), Word(4.0, 4.5, "gone")], 5.0) == [Word(5.0, 5.2, "word")]


def test_stop_latency_is_the_overlap() -> None:
    never, slow = spoken((1.0, 9.0)), spoken((1.0, 6.0))
    user = spoken((3.0, 5.0))
    assert [span.duration_s for span in stop_intervals(user, never)] == pytest.approx([2.0])
    assert [span.duration_s for span in stop_intervals(user, slow)] == pytest.approx([2.0])
    assert fdb.overlap(CUT, never).stop_s == pytest.approx(6.0)
    assert fdb.overlap(CUT, slow).stop_s == pytest.approx(3.0)
    assert stop_intervals(user, spoken((5.5, 6.0))) == []


def test_merges_take_06_s_of_the_user_and_05_s_of_the_model() -> None:
    user = spoken((3.0, 3.5), (4.0625, 5.0))
    assert len(stop_intervals(user, spoken((1.0, 9.0)))) == 1
    assert len(stop_intervals(spoken((3.0, 5.0)), spoken((1.0, 3.5), (4.0625, 9.0)))) == 2


def test_a_response_may_come_any_time_but_not_already_be_under_way() -> None:
    user = spoken((1.0, 2.0), (3.0, 4.0))
    assert response_intervals(user, spoken((44.0, 50.0))) == [Segment(4.0, 44.0)]
    begun = spoken((3.5, 6.0), (7.0, 9.0))
    assert response_intervals(user, begun) == [Segment(2.0, 3.5), Segment(4.0, 7.0)]
    assert response_intervals(user, []) == []


def test_the_last_short_segment_decides() -> None:
    model = spoken((1.0, 2.5), (6.0, 6.4))
    assert not backchannels(model, 10.0).is_taken
    assert fdb.backchannels(model, 10.0).is_taken
    assert backchannels(model[::-1], 10.0).is_taken


def test_three_seconds_end_the_count() -> None:
    model = spoken((1.0, 1.4), (2.0, 5.5), (7.0, 7.4))
    official = backchannels(model, 10.0)
    assert official.is_taken and official.num == 1
    assert fdb.backchannels(model, 10.0).num == 2


def test_the_words_of_a_short_segment_count() -> None:
    words = [Word(1 + 0.2 * k, 1.2 + 0.2 * k, "so") for k in range(3)]
    assert backchannels(spoken((0.9, 1.7)), 10.0, words=words).is_taken
    assert not backchannels(spoken((0.9, 1.7)), 10.0, words=words[:2]).is_taken


def test_silence_scores_worse_than_the_worst_timing() -> None:
    people = [0.0] * 5 + [1.0] * 2 + [0.0] * 44
    worst = backchannels(spoken((8.0, 8.3)), 10.0, people).divergence
    assert worst == pytest.approx(math.sqrt(math.log(2)), abs=1e-3)
    assert backchannels([], 10.0, people).divergence == 1.0
    assert fdb.backchannels(spoken((8.0, 8.3)), 10.0, people).divergence == pytest.approx(1.0)
