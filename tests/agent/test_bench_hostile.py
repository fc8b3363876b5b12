"""What counts as a fault; and a short run of the real bench, in which there must be none."""

from dataclasses import replace

import pytest

from agent.attacks import FORGED, FUZZ, attacks
from agent.bench_calls import Holding
from agent.bench_hostile import MAX_GROWTH_BYTES, MAX_LATE_S, Outcome, Under, measure

CLEAN = Holding(slots=0, calls=0, rtp_ports=0, files=20, resident_bytes=100_000_000)


def outcome() -> Outcome:
    """A run in which all went well."""
    forged = Under(FORGED, 10, calls_alive=2, kept_out={"foreign_rtp": 10})
    fuzz = [Under(name, 10, calls_alive=2, resident_bytes=100_000_000) for name in FUZZ]
    return Outcome(2, [fuzz[0], forged, fuzz[1]], CLEAN, CLEAN)


def test_a_clean_run_has_no_faults() -> None:
    assert outcome().faults() == []


@pytest.mark.parametrize("name", ["slots", "calls", "rtp_ports", "files"])
def test_one_thing_more_than_before_is_a_leak(name: str) -> None:
    run = outcome()
    run.after = replace(CLEAN, **{name: getattr(CLEAN, name) + 1})
    assert run.faults() == [f"1 {name} leaked"]


def test_a_lost_call_a_late_packet_a_forged_one_and_growth_are_faults() -> None:
    run = outcome()
    run.phases[0].calls_alive = 1
    run.phases[0].late_p99_s = MAX_LATE_S + 0.001
    run.phases[1].kept_out["foreign_rtp"] = 9
    run.phases[2].resident_bytes += MAX_GROWTH_BYTES + 1
    run.is_running = False
    assert len(run.faults()) == 5


@pytest.mark.loopback
@pytest.mark.redis
@pytest.mark.timeout(120)
def test_a_short_run_of_every_attack_ends_no_call_and_hears_no_forged_packet() -> None:
    plan = [
        replace(attack, num_packets=min(attack.num_packets, 250))
        for attack in attacks(250, 250, 500.0)
        if attack.name in (FORGED, "strangers", *FUZZ)
    ]
    run = measure(2, plan, seed=1, settle_s=0)
    run.after = None  # what fuzz had answered is still there: it is kept for half a minute
    for phase in run.phases:
        phase.late_p99_s = 0.0  # of a machine that runs other tests it says nothing
    assert run.faults() == []
    assert run.phases[0].kept_out == {"foreign": 250}
