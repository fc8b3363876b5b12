"""Callers of a load: every sentence is one turn for the stand-in, wherever its frames begin."""

import numpy as np
import pytest

from agent.bench_rtp import PACKET_SAMPLES, RATE_HZ, decode
from agent.clock import ManualClock
from agent.load_speech import (
    CODEC,
    LEAD_S,
    MAX_DIP_S,
    MAX_SENTENCE_S,
    PAUSE_S,
    Program,
    program_of,
    programs,
    without_pauses,
)
from agent.standin import LINE_TOKEN, VOICED_DBFS, StandIn
from agent.wire import FRAME_SAMPLES
from telephony.audio import Pcm, dbfs

FRAME_AT_WIRE = FRAME_SAMPLES // 3


@pytest.fixture(scope="module")
def callers() -> tuple[Program, ...]:
    return programs(3, num_sentences=2)


def said_by(program: Program) -> Pcm:
    return decode(program.codes.tobytes(), CODEC)


def lines_at(program: Program, shift_samples: int, num_loops: int = 2) -> list[int]:
    """The stand-in's lines in answer to a call, whose frames begin so far into it."""
    lead = np.zeros(round(LEAD_S * RATE_HZ), np.float32)
    call = np.concatenate([lead, *[said_by(program)] * num_loops])[shift_samples:]
    engine = StandIn(1, step_s=0.0, row_step_s=0.0, clock=ManualClock())
    engine.start(0, seed=0)
    lines = []
    for start in range(0, len(call) - FRAME_AT_WIRE, FRAME_AT_WIRE):
        frame = np.repeat(call[start : start + FRAME_AT_WIRE], 3)[None]
        text = int(engine.step(frame, np.array([True])).text[0])
        lines += [text - LINE_TOKEN] if text >= LINE_TOKEN else []
    return lines


def test_each_sentence_gets_one_line_whatever_the_phase(callers: tuple[Program, ...]) -> None:
    for program in callers:
        for shift in (0, 160, 333, 479):
            assert lines_at(program, shift) == list(range(1 + 2 * len(program.ends)))


def test_turns_end_where_the_sound_does(callers: tuple[Program, ...]) -> None:
    for program in callers:
        packets = said_by(program).reshape(-1, PACKET_SAMPLES)
        levels = np.array([dbfs(packet) for packet in packets])
        for end in program.ends:
            assert levels[end] > VOICED_DBFS - 6
            assert not packets[end + 1 : end + 1 + round(PAUSE_S * 50)].any()
        ends = program.turn_ends(round(LEAD_S * 50) + 2 * program.num_packets)
        assert len(ends) == 2 * len(program.ends)
        assert ends[0] == round(LEAD_S * 50) + program.ends[0]
        assert ends[len(program.ends)] == ends[0] + program.num_packets
        assert len(program.turn_ends(int(ends[0]))) == 0 and len(program.turn_ends(int(ends[0]) + 1)) == 1


def test_voices_differ_and_sentences_are_short(callers: tuple[Program, ...]) -> None:
    assert len({program.codes.tobytes() for program in callers}) == len(callers)
    for program in callers:
        assert program.num_packets <= len(program.ends) * (MAX_SENTENCE_S + PAUSE_S + 0.02) * 50


def test_pauses_are_cut_and_ends_trimmed() -> None:
    tone = np.sin(np.arange(RATE_HZ // 4)).astype(np.float32)
    quiet = np.zeros(RATE_HZ, np.float32)
    heard = without_pauses(np.concatenate([quiet, tone, quiet, tone, quiet]))
    assert len(heard) == pytest.approx(RATE_HZ // 2 + MAX_DIP_S * RATE_HZ, abs=2 * 80)
    assert abs(heard[0]) > 0 or abs(heard[1]) > 0
    assert len(without_pauses(quiet)) == 0
    program = program_of([tone, tone])
    assert list(program.ends) == [12, 12 + round(PAUSE_S * 50) + 13]
