"""What the bench of stops and upgrades holds against a gateway, and what it does not."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.bench_drain import add_arguments, judge, longest_silence_s, report, run, wrong_answers
from agent.bench_drain_scenes import BRIEF, Taken
from agent.bench_probe import Probe
from agent.errors import AgentError
from agent.load_generator import Ended
from agent.load_media import Heard
from agent.load_speech import program_of
from agent.load_verdict import CallVerdict, Turn
from agent.machine import this_machine

PROGRAM = program_of([np.full(8_000, 0.1, np.float32)])
CUT = "the far end hung up"


def ended(
    number: int, failure: str = "", at_s: float = 100.0, *, hole_s: float = 0.0, **more: object
) -> Ended:
    """A call of 10 s that ended then, with a hole in its packets."""
    media_s = np.linspace(0.0, 9.98, 500)
    came_s = media_s + at_s - 10
    came_s[250:] += hole_s
    power, line = np.zeros(500, np.float32), np.full(500, -1, np.int8)
    heard = Heard(came_s, media_s, power, line, came_s, 0, 0)
    right = Turn(0, at_s - 5, 0.4, 1)
    verdict = CallVerdict(number, failure, 0.1, num_received=500, was_greeted=True, turns=(right,))
    return Ended("", verdict, heard, PROGRAM, at_s, **more)  # type: ignore[arg-type]


def drained(calls: Sequence[Ended], **more: object) -> Taken:
    refused = tuple(Probe(method, 503, "5") for method in ("INVITE", "OPTIONS"))
    taken = Taken("drain", tuple(calls), refused, (0,), told_s=92.0, gone_s=101.0)
    return replace(taken, **more)  # type: ignore[arg-type]


def test_calls_that_ended_by_themselves_are_no_fault() -> None:
    found = judge(drained([ended(0), ended(1, hole_s=0.3)]))
    assert found.faults == () and (found.num_calls, found.num_cut) == (2, 0)
    assert found.silences_ms["max"] == pytest.approx(320) and found.exit_after_s == pytest.approx(1.0)
    assert found.newcomers == {"INVITE 503": 1, "OPTIONS 503": 1}
    assert (found.turns, found.unanswered, found.wrong) == (2, 0, 0)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"ended": (ended(3, CUT),)}, f"call 3: {CUT}"),
        ({"ended": ()}, "no call was placed"),
        ({"exit_codes": (None,)}, "a gateway that drained ended with None"),
        ({"exit_codes": (1,)}, "a gateway that drained ended with 1"),
        ({"probes": (Probe("INVITE", 200, ""),)}, "1 times INVITE is answered by 200 while draining"),
        ({"probes": (Probe("OPTIONS", 0, ""),)}, "1 times OPTIONS is answered by 0 while draining"),
        ({"probes": (Probe("INVITE", 503, ""),)}, "1 times INVITE 503 has no Retry-After while draining"),
        ({"took_s": (0.2, 9.0)}, "a call was without a model for 9.0 s"),
    ],
)
def test_what_must_not_be_is_told(more: dict[str, object], fault: str) -> None:
    assert judge(drained([ended(0)], **more)).faults == (fault,)


def test_an_answer_that_a_restarted_worker_owed_is_no_cut_call() -> None:
    late = replace(ended(0).verdict, turns=(Turn(0, 95.0, None, None),))
    call = replace(ended(0), verdict=late)
    assert judge(drained([call])).faults == ("call 0: 1 of 1 turns not answered",)
    found = judge(drained([call], took_s=(0.3,)))
    assert found.faults == () and found.unanswered == 1 and found.back_ms["max"] == pytest.approx(300)


def test_who_outlives_the_drain_time_has_to_be_handed_over() -> None:
    brief = [ended(number) for number in range(BRIEF)]
    left = ended(2, by_far=True, referred_to="sip:x@127.0.0.1")
    follower = ended(3, is_follower=True)
    handing = {"drain_s": 8.0, "has_target": True}
    found = judge(drained([*brief, left, follower], **handing))
    assert found.faults == () and (found.num_calls, found.num_handed_over) == (BRIEF + 1, 1)
    assert judge(drained([*brief, left], **handing)).faults == ("0 calls were handed over, not 1",)
    cut = judge(drained([*brief, ended(2, CUT, by_far=True)], **handing))
    assert cut.faults == ("0 calls were handed over, not 1", f"call 2, not handed over: {CUT}")
    lost = judge(drained([*brief, left, ended(3, "refused", is_follower=True)], **handing))
    assert lost.faults == ("call 3, handed over: refused",) and lost.num_handed_over == 0


def test_without_a_target_the_deadline_ends_calls_and_not_before() -> None:
    brief = [ended(number) for number in range(BRIEF)]
    at_once = ended(2, CUT, 100.5, by_far=True)
    assert judge(drained([*brief, at_once], drain_s=8.0)).faults == ()
    early = ended(2, CUT, 96.0, by_far=True)
    assert judge(drained([*brief, early], drain_s=8.0)).faults == (
        "1 calls were hung up on before the deadline",
    )
    assert judge(drained([*brief, ended(2)], drain_s=8.0)).faults == ("1 calls outlived the deadline",)


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 0, 1], 0),
        ([1, 0, 2, 3], 2),  # another call's, then its own again
        ([1, -1, 2, 3], 0),  # a turn that was not answered
        ([1, -1, 3, 4], 1),  # or whose answer nobody heard
        ([2, 3], 1),
        ([1, None, 3], 1),  # no one line's
    ],
)
def test_answers_follow_each_other(lines: list[int | None], wrong: int) -> None:
    turns = [Turn(n, n, None if line == -1 else 0.4, line) for n, line in enumerate(lines)]
    assert wrong_answers(turns) == wrong


def test_who_heard_nothing_was_in_silence_for_ever() -> None:
    assert longest_silence_s(replace(ended(0), heard=None)) == float("inf")


def test_figures_are_told_and_kept_and_faults_fail_the_bench(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "drain.json"
    good, bad = judge(drained([ended(0)])), judge(drained([ended(0, CUT)]))
    assert report([good], this_machine(), path) == 0 and report([good, bad], this_machine(), None) == 1
    assert f"drain: call 0: {CUT}" in capsys.readouterr().out
    (kept,) = json.loads(path.read_text())["scenes"]
    assert kept["scene"] == "drain" and kept["num_cut"] == 0


@pytest.mark.parametrize("words", ["--calls 0", "--hold 5", "--scenes drain,flood"])
def test_wrong_words_are_told(words: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(AgentError, match="--scenes some of drain,rolling,workers,deadline"):
        run(parser.parse_args(words.split()), None)
