"""The load tool against a real gateway, small: every call is judged, and costs are told apart."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent import load
from agent.errors import AgentError
from agent.load import Loading, Step, add_arguments, bytes_per_call, knee, run
from agent.load_cost import Cost

FIGURES = {"p50": 1.0, "p99": 2.0, "max": 3.0}
COST = Cost(gateway=30.0, workers=5.0, generator=3.0, threads={"python": 20.0}, gateway_bytes=150_000_000)


def step(num_calls: int, late_p99_ms: float = 2.0, **changes: object) -> Step:
    turns = {"turns": 10, "unanswered": 0, "wrong": 0, "holes": 0}
    late_ms = {**FIGURES, "p99": late_p99_ms}
    made = Step(num_calls, 0, FIGURES, late_ms, FIGURES, FIGURES, 1000, 0, 0, 0, 0, turns, COST, 0, 0, ())
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_knee_is_the_last_step_before_one_that_is_late_or_has_faults() -> None:
    assert knee([step(50), step(100), step(150, 11.0), step(200)]) == 100
    assert knee([step(50), step(100, faults=("call 1: no packet came",))]) == 50
    assert knee([step(50, 10.1)]) == 0


def test_a_generator_that_is_late_or_loses_packets_makes_a_step_void() -> None:
    assert not step(50).is_void
    assert step(50, own_late_ms={**FIGURES, "p99": 10.1}).is_void and step(50, num_dropped_by_us=1).is_void


def test_memory_per_call_is_a_slope() -> None:
    steps = [
        step(num, cost=replace(COST, gateway_bytes=100_000_000 + 400_000 * num)) for num in (50, 100, 150)
    ]
    assert bytes_per_call(steps, 100_000_000) == pytest.approx(400_000)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("--calls many", "write a number"),
        ("--calls 0", "write a number"),
        ("--calls 1020", "run more gateways"),
        ("--calls 5,6 --concurrent 5", "one number"),
        ("--calls 5 --concurrent 6", "within it"),
        ("--calls 5 --hold 0", "above 0"),
    ],
)
def test_wrong_wishes_are_refused_with_a_remedy(words: str, remedy: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(AgentError, match=remedy):
        run(parser.parse_args(words.split()), None)


def test_a_gateway_has_room_for_every_call() -> None:
    settings = Loading(1.0, 1.0, slots_per_worker=100).settings(250)
    assert int(settings["OFFHOOK_WORKER__SLOTS"]) * int(settings["OFFHOOK_WORKER__COUNT"]) >= 250
    assert int(settings["OFFHOOK_SIP__MAX_CALLS"]) > 250
    assert Loading(1.0, 1.0).settings(4)["OFFHOOK_WORKER__COUNT"] == "1"


@pytest.mark.loopback
@pytest.mark.redis
@pytest.mark.timeout(120)
def test_calls_live_and_everything_about_them_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they were in time is the machine's affair; that they lived and were answered is ours."""
    monkeypatch.setattr(load, "NUM_PROGRAMS", 2)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    path = tmp_path / "load.json"
    assert run(parser.parse_args(f"--calls 3 --hold 6 --json {path}".split()), None) in (0, 1)
    told = json.loads(path.read_text())
    (one,) = told["steps"]
    assert one["num_calls"] == 3 and one["num_dropped_by_us"] == 0 and one["num_silent_seconds"] == 0
    assert one["num_packets"] > 3 * 50 * 7 and one["turns"]["turns"] >= 3
    assert one["turns"]["unanswered"] == 0
    assert not [fault for fault in one["faults"] if "packet" in fault or "hung up" in fault or "end" in fault]
    assert one["setup_ms"]["max"] < 10_000 and one["late_ms"]["p50"] >= 0
    cost = one["cost"]
    assert 0 < cost["generator"] < 100 and 0 < cost["workers"] and "python" in cost["threads"]
    assert told["idle_bytes"] > 20e6
