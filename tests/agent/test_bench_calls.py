"""What counts as a fault; and a short run of the real bench, in which there must be none."""

from dataclasses import replace

import pytest

from agent.bench_calls import MAX_GROWTH_BYTES, Holding, Outcome, measure

CLEAN = Holding(slots=0, calls=0, rtp_ports=0, files=20, resident_bytes=100_000_000)


def outcome() -> Outcome:
    """A run in which all went well on two slots."""
    return Outcome(
        num_good=10,
        before=CLEAN,
        after=CLEAN,
        num_answered_at_once=2,
        refusals=[(503, 5, False), (503, 5, False)],
    )


def test_a_clean_run_has_no_faults() -> None:
    assert outcome().faults(2) == []


@pytest.mark.parametrize("name", ["slots", "calls", "rtp_ports", "files"])
def test_one_thing_more_than_before_is_a_leak(name: str) -> None:
    run = outcome()
    run.after = replace(CLEAN, **{name: getattr(CLEAN, name) + 1})
    assert run.faults(2) == [f"1 {name} leaked"]


@pytest.mark.parametrize("refusal", [(486, 5, False), (503, None, False), (503, 5, True)])
def test_the_surplus_must_get_503_with_retry_after_and_no_ringing(
    refusal: tuple[int, int | None, bool],
) -> None:
    run = outcome()
    run.refusals[0] = refusal
    assert len(run.faults(2)) == 1


def test_growth_failures_and_idle_slots_are_faults() -> None:
    run = outcome()
    run.growth_bytes = MAX_GROWTH_BYTES + 1
    run.failures = ["no sound"]
    run.num_answered_at_once = 1
    assert len(run.faults(2)) == 3


@pytest.mark.loopback
@pytest.mark.redis
@pytest.mark.timeout(120)
def test_short_calls_and_a_surplus_leave_nothing_behind() -> None:
    run = measure(num_calls=8, seconds=1.0, num_slots=2)
    run.growth_bytes = 0  # of so few calls it says nothing: pools fill up
    assert run.num_good == 8, run.failures
    assert run.faults(2) == []
