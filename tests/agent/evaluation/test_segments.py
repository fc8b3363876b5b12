"""Intervals of speech from sound, and their joining."""

import pytest

from agent.energy_gate import Segment
from agent.evaluation.segments import overlaps, speech_segments, talks, turns_of
from tests.agent.evaluation.scenes import channel, spoken


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_segments_are_found_where_the_sound_is(noise: float) -> None:
    truth = [(0.5, 1.4), (1.9, 3.0), (4.0, 4.2)]
    found = speech_segments(channel(truth, 6.0, noise))
    assert [one.start_s for one in found] == pytest.approx([a for a, _ in truth], abs=0.021)
    assert [one.end_s for one in found] == pytest.approx([b for _, b in truth], abs=0.021)


def test_a_click_is_no_speech() -> None:
    assert speech_segments(channel([(1.0, 1.05)], 2.0)) == []


def test_talks_join_short_pauses_only() -> None:
    assert talks(spoken((0, 1), (1.4, 2), (2.6, 3))) == spoken((0, 2), (2.6, 3))
    assert talks([]) == []


def test_turns_keep_their_pauses() -> None:
    first, second = turns_of(spoken((1, 2), (2.8, 3.5), (6, 7)))
    assert (first.start_s, first.end_s, first.pauses) == (1, 3.5, (Segment(2, 2.8),))
    assert (second.start_s, second.pauses) == (6, ())


def test_overlaps() -> None:
    assert overlaps(spoken((0, 2), (5, 6)), spoken((1.5, 5.2))) == spoken((1.5, 2), (5, 5.2))
    assert overlaps(spoken((0, 1)), spoken((1, 2))) == []
