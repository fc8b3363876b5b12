"""Units, pauses, gaps and overlaps of a call whose truth is known, from sound."""

import pytest

from agent.evaluation.metrics.turn_statistics import (
    floor_transfers,
    inter_pausal_units,
    silences,
    turn_statistics,
)
from agent.evaluation.segments import speech_segments
from tests.agent.evaluation.scenes import channel, spoken

CALLER = [(1.0, 2.0), (2.5, 4.0), (8.0, 9.0)]
AGENT = [(4.4, 6.0), (8.7, 10.0), (12.5, 14.0)]


def test_counts_per_minute_from_sound() -> None:
    caller, agent = (speech_segments(channel(spans, 15.0)) for spans in (CALLER, AGENT))
    found = turn_statistics(caller, agent, 15.0)
    assert (found.units.num, found.pauses.num, found.gaps.num, found.overlaps.num) == (6, 2, 2, 1)
    assert found.pauses.total_s == pytest.approx(0.5 + 2.5, abs=0.05)
    assert found.gaps.total_s == pytest.approx(0.4 + 2.0, abs=0.05)
    assert found.overlaps.total_s == pytest.approx(0.3, abs=0.03)
    assert found.units.num_per_minute == 24
    assert found.gaps.s_per_minute == pytest.approx(4 * 2.4, abs=0.2)


def test_silence_under_200_ms_parts_no_unit() -> None:
    assert inter_pausal_units(spoken((0.0, 1.0), (1.19, 2.0))) == spoken((0.0, 2.0))
    assert len(inter_pausal_units(spoken((0.0, 1.0), (1.21, 2.0)))) == 2


def test_offsets_are_signed_and_a_backchannel_changes_no_speaker() -> None:
    agent = spoken((1.2, 1.5), (4.4, 6.0), (8.7, 10.0))
    assert floor_transfers(spoken(*CALLER), agent) == pytest.approx([0.4, -0.3])


def test_a_silence_belongs_to_who_ended_last() -> None:
    statistics = turn_statistics(spoken((0.0, 3.0)), spoken((1.0, 2.0), (4.0, 5.0)), 6.0)
    assert (statistics.gaps.num, statistics.pauses.num) == (1, 0)
    assert silences(spoken((0.0, 3.0)), spoken((4.0, 5.0), (9.0, 9.5)), 2.0) == spoken((5.0, 9.0))


def test_nothing_said_and_no_length() -> None:
    empty = turn_statistics([], [], 60.0)
    assert empty.units.num == 0 and empty.gaps.s_per_minute == 0
    with pytest.raises(ValueError, match="pass its length"):
        turn_statistics([], [], 0.0)
