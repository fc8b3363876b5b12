"""A call's verdict from its packets: a clean call has no fault, and each fault shows as what it is."""

from dataclasses import replace

import numpy as np
import pytest

from agent.bench_rtp import PACKET_S, RATE_HZ
from agent.load_media import NUM_LINES, Heard
from agent.load_speech import LEAD_S, PAUSE_S, Program, program_of
from agent.load_verdict import (
    CallVerdict,
    Tally,
    judge_call,
    lateness_s,
    missing_by_second,
    spread_ms,
)
from agent.standin import LINE_FRAMES

GAP_S = 0.36
SENTENCE = (0.3 * np.sin(np.arange(RATE_HZ) * 0.3)).astype(np.float32)  # a second
LINE_PACKETS = LINE_FRAMES * 4


@pytest.fixture
def program() -> Program:
    return program_of([SENTENCE, SENTENCE])


def clean_call(program: Program, seconds: float = 12.0) -> Heard:
    """Greeted, and every turn answered GAP_S after its end."""
    num = round(seconds / PACKET_S)
    media_s = np.arange(num, dtype=np.float64) * PACKET_S
    sent_s, at_s = 100.0 + media_s, 100.003 + media_s
    power, line = np.zeros(num, np.float32), np.full(num, -1, np.int8)
    starts = [0, *(end + round(GAP_S / PACKET_S) for end in program.turn_ends(num))]
    for number, start in enumerate(starts):
        power[start : start + LINE_PACKETS], line[start : start + LINE_PACKETS] = 0.02, number % NUM_LINES
    return Heard(at_s, media_s, power, line, sent_s, 0, 0)


def judged(heard: Heard, program: Program) -> CallVerdict:
    return judge_call(0, 0.05, "", heard, program)


def lost(heard: Heard, places: slice) -> Heard:
    at_s, media_s = heard.at_s.copy(), heard.media_s.copy()
    power, line = heard.power.copy(), heard.line.copy()
    at_s[places], media_s[places], power[places], line[places] = np.nan, np.nan, 0, -1
    return replace(heard, at_s=at_s, media_s=media_s, power=power, line=line)


def test_a_clean_call_has_no_fault(program: Program) -> None:
    verdict = judged(clean_call(program), program)
    assert verdict.faults() == []
    assert (verdict.num_sent, verdict.num_received, verdict.num_lost, verdict.num_late) == (600, 600, 0, 0)
    expected = [end for end in program.turn_ends(600) if end < 600 - 100]
    assert len(verdict.turns) == len(expected) >= 2
    for turn in verdict.turns:
        assert turn.gap_s == pytest.approx(GAP_S + 0.003, abs=1e-6) and turn.is_right and not turn.num_holes


def test_lateness_is_against_the_quickest_packet(program: Program) -> None:
    heard = clean_call(program)
    heard.at_s[200] += 0.030
    heard.at_s[300] += 0.005
    late_s = lateness_s(heard)
    assert late_s.max() == pytest.approx(0.030) and late_s[300] == pytest.approx(0.005)
    verdict = judged(heard, program)
    assert verdict.num_late == 1 and verdict.late_max_ms == pytest.approx(30)
    tally = Tally()
    tally.add(verdict, heard)
    assert tally.late_ms()["p50"] == pytest.approx(0, abs=1e-3) and tally.late_ms()["max"] == pytest.approx(
        30
    )


def test_a_clock_that_lost_time_is_late_for_ever(program: Program) -> None:
    heard = clean_call(program)
    heard.at_s[300:] += 0.040
    assert judged(heard, program).num_late == 300


def test_loss_shows_by_the_second_and_a_silent_one_is_a_fault(program: Program) -> None:
    heard = lost(clean_call(program), slice(50, 55))
    assert missing_by_second(heard)[:3] == (0.0, 0.1, 0.0)
    verdict = judged(heard, program)
    assert verdict.num_lost == 5 and verdict.faults() == []
    assert judged(lost(heard, slice(100, 150)), program).faults() == ["1 s without a packet"]


def test_wrong_sound_no_sound_and_holes_are_told_apart(program: Program) -> None:
    heard = clean_call(program)
    first = int(program.turn_ends(600)[0]) + round(GAP_S / PACKET_S)
    answer = slice(first, first + LINE_PACKETS)
    wrong = replace(heard, line=heard.line.copy())
    wrong.line[answer] = 4
    assert judged(wrong, program).faults() == ["1 answers with wrong sound"]
    assert judged(wrong, program).faults(knows_lines=False) == []
    mixed = replace(heard, line=heard.line.copy())
    mixed.line[first : first + LINE_PACKETS // 2] = 4
    assert judged(mixed, program).faults() == ["1 answers with wrong sound"]
    silent = replace(heard, power=heard.power.copy())
    silent.power[answer] = 0
    verdict = judged(silent, program)
    assert verdict.faults() == [f"1 of {len(verdict.turns)} turns not answered"]
    holed = lost(heard, slice(first + 10, first + 13))
    assert judged(holed, program).turns[0].num_holes == 3 and judged(holed, program).faults() == []


def test_a_call_that_never_lived(program: Program) -> None:
    assert judge_call(0, None, "", None, program).faults() == ["it never began"]
    assert judge_call(0, None, "refused", None, program).faults() == ["refused"]
    never = np.zeros(0)
    nothing = Heard(never, never, np.zeros(0, np.float32), np.zeros(0, np.int8), np.arange(50.0), 0, 0)
    assert judge_call(0, 0.1, "", nothing, program).faults() == ["no packet came"]


def test_spreads_of_nothing_are_no_numbers() -> None:
    assert all(np.isnan(value) for value in spread_ms(()).values())
    assert spread_ms([0.1, 0.2, 0.3])["p50"] == pytest.approx(200)
    assert LEAD_S > 1.0 and PAUSE_S > GAP_S + 1.0
