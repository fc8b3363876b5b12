"""What the bench of bad networks compares with what, and what is beyond a bar."""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.bench_loss import (
    CLEAN,
    Arm,
    Move,
    add_arguments,
    arms,
    judge,
    move_faults,
    parts_of,
    report,
    run,
    wrong_after,
)
from agent.errors import AgentError
from agent.load_generator import Ended
from agent.load_media import Heard
from agent.load_speech import program_of
from agent.load_verdict import CallVerdict, Turn
from agent.machine import this_machine

BAD_S = 20.0
PROGRAM = program_of([np.full(8_000, 0.1, np.float32)])
AGES_S = (1.0, 6.0, 12.0, 18.0, 22.0, 26.0, 32.0)  # in the start, three bad, one that settles, two good
GOOD_MOVE = Move(4, 4, 0, 40.0, 8, 0, 3.0)


def call(
    arm: str, gaps_s: list[float | None], lines: list[int | None] | None = None, failure: str = ""
) -> Ended:
    """A call that began at 50 s, its turns at AGES_S."""
    told = lines or [(number + 1) % 8 for number in range(len(gaps_s))]
    turns = tuple(
        Turn(number, 50 + AGES_S[number], gap_s, line if gap_s is not None else None)
        for number, (gap_s, line) in enumerate(zip(gaps_s, told, strict=True))
    )
    nothing = np.zeros(0)
    heard = Heard(nothing, nothing, np.zeros(0, np.float32), np.zeros(0, np.int8), np.array([50.0]), 0, 0)
    return Ended(arm, CallVerdict(0, failure, turns=turns, num_received=95, num_lost=5), heard, PROGRAM)


def test_turns_belong_to_the_part_in_which_they_ended() -> None:
    bad, good = parts_of([call(CLEAN, [0.4] * 7)], BAD_S)
    assert [turn.number for turn in bad] == [1, 2, 3] and [turn.number for turn in good] == [5, 6]


def test_waits_are_compared_with_clean_calls_in_the_same_part() -> None:
    clean = [call(CLEAN, [0.4, 0.4, 0.4, 0.4, 0.4, 0.30, 0.30])]
    lossy = [call("bad", [0.4, 0.46, 0.47, 0.48, 0.4, 0.31, 0.31])]
    found = judge(Arm("bad", None, 100.0), lossy, clean, BAD_S)
    assert found.shift_ms == pytest.approx(70) and found.drift_ms == pytest.approx(10)
    assert found.lost_share == pytest.approx(0.05) and found.faults() == []
    strict = judge(Arm("bad", None, 50.0), lossy, clean, BAD_S)
    assert strict.faults() == ["bad: answers come 70 ms later, 50 allowed"]
    drifting = judge(Arm("bad", None), [call("bad", [0.4] * 7)], clean, BAD_S)
    assert drifting.faults() == ["bad: after it, answers still come 100 ms later"]
    ended = judge(Arm("bad", None), [call("bad", [0.3] * 7, failure="the far end hung up")], clean, BAD_S)
    assert ended.faults() == ["bad: 1 calls ended early"]


def test_no_answers_at_all_are_beyond_every_bar() -> None:
    clean = [call(CLEAN, [0.4] * 7)]
    silent = judge(Arm("bad", None, 50.0), [call("bad", [None] * 7)], clean, BAD_S)
    assert math.isnan(silent.shift_ms) and silent.unanswered_bad == 3
    assert len(silent.faults()) == 3


def test_lines_may_have_moved_on_but_must_follow_each_other_afterwards() -> None:
    gaps: list[float | None] = [0.4] * 7
    assert wrong_after([call("bad", gaps, [1, 2, 4, 5, 6, 7, 0])], BAD_S) == 0
    assert wrong_after([call("bad", gaps, [1, 2, 3, 4, 5, 6, 6])], BAD_S) == 1
    assert wrong_after([call("bad", gaps, [1, 2, 3, 4, 5, 6, None])], BAD_S) == 1
    assert wrong_after([call("bad", [*gaps[:6], None])], BAD_S) == 1


def test_a_move_must_be_accepted_and_heard() -> None:
    assert move_faults(GOOD_MOVE) == []
    bad = replace(GOOD_MOVE, num_accepted=3, num_ended_early=1, wrong_after=2, shift_ms=30.0)
    assert len(move_faults(bad)) == 4
    assert len(move_faults(replace(GOOD_MOVE, turns_after=0, shift_ms=math.nan))) == 2


def test_arms_are_the_bars_of_the_field_and_a_report_tells_all(tmp_path: Path) -> None:
    chosen = arms()
    assert chosen[0].name == CLEAN and len({arm.name for arm in chosen}) == len(chosen) == 6
    assert [arm.bar_ms for arm in chosen[1:3]] == [50.0, 100.0]
    clean = [call(CLEAN, [0.4] * 7)]
    outcomes = [judge(arm, [call(arm.name, [0.4] * 7)], clean, BAD_S) for arm in chosen]
    path = tmp_path / "loss.json"
    assert report(outcomes, GOOD_MOVE, this_machine(), path) == 0
    told = json.loads(path.read_text())
    assert told["network"] == "user space" and len(told["arms"]) == 6
    assert report(outcomes, replace(GOOD_MOVE, num_accepted=0), this_machine(), None) == 1


def test_parts_that_are_too_short_are_refused() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(AgentError, match="above"):
        run(parser.parse_args(["--bad", "5"]), None)
