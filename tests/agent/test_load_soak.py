"""A soak's verdict: slopes over the later half, leaks at the end."""

from dataclasses import replace

import pytest

from agent.bench_calls import Holding
from agent.load_soak import Sample, Soak, slope, soak_table

HELD = Holding(slots=0, calls=0, rtp_ports=0, files=20, resident_bytes=100_000_000)
SPREAD = {"p50": 1.0, "p99": 2.0, "max": 3.0}


def samples(bytes_per_call: float, files_per_call: float = 0.0) -> tuple[Sample, ...]:
    """Ten; memory rises steeply in the first half in any case, as pools fill; ports come and go."""
    found = []
    for number in range(1, 11):
        over = 100 * number
        grown = 20_000_000 * min(number, 5) + round(bytes_per_call * over)
        ports = 100 - 10 * (number % 3)
        files = 20 + ports + round(files_per_call * over)
        found.append(Sample(over, replace(HELD, resident_bytes=grown, rtp_ports=ports, files=files)))
    return tuple(found)


def soak_of(found: tuple[Sample, ...], after: Holding = HELD) -> Soak:
    memory = slope(found, lambda held: held.resident_bytes)
    files = 1000 * slope(found, lambda held: held.files - held.rtp_ports)
    return Soak(1000, 0, (), SPREAD, {}, SPREAD, HELD, after, found, memory, files)


def test_pools_that_fill_up_are_no_leak() -> None:
    flat = soak_of(samples(0.0))
    assert flat.bytes_per_call == pytest.approx(0, abs=1) and flat.faults() == []
    assert soak_table(flat).row_count >= 5


def test_growth_that_goes_on_is_one() -> None:
    assert soak_of(samples(5_000)).faults() == ["memory grows by 5000 bytes a call"]
    assert soak_of(samples(0, 0.01)).faults() == ["10.0 files more for every 1,000 calls"]


def test_what_an_allocator_takes_and_gives_back_is_none_but_growth_in_steps_is() -> None:
    def held(megabytes: list[float]) -> Soak:
        found = [
            replace(HELD, resident_bytes=round(1e6 * one)) for one in [*[80.0] * len(megabytes), *megabytes]
        ]
        return soak_of(tuple(Sample(50 * number, one) for number, one in enumerate(found)))

    assert held([*[100.0] * 12, *[105.5] * 4, *[101.1] * 5]).faults() == []
    assert held([100.0 + 2.0 * (number // 4) for number in range(21)]).bytes_per_call > 5_000


@pytest.mark.parametrize("name", ["slots", "calls", "rtp_ports"])
def test_what_is_held_after_all_calls_is_one(name: str) -> None:
    found = soak_of(samples(0.0), replace(HELD, **{name: 1}))
    assert found.faults() == [f"1 {name} leaked"]


def test_faults_of_calls_are_the_soaks_and_few_samples_have_no_slope() -> None:
    found = replace(soak_of(samples(0.0)), call_faults=("call 7: no packet came",))
    assert found.faults() == ["call 7: no packet came"]
    assert slope(samples(9.0)[:4], lambda held: held.resident_bytes) == 0.0
