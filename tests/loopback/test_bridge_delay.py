"""The bridge bench, cut short: it finds every way's delay, and a known one in full.

The bars are for `make bench`, on a machine that does nothing else; here only what load cannot explain.
"""

import pytest

from agent.bench_bridge import measure, watched_gateway

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]


def test_delays_are_found_and_a_known_one_shows() -> None:
    with watched_gateway() as (gateway, worker):
        plain = measure(gateway, worker, 4.0, 0.0, place=0.1)
        held = measure(gateway, worker, 4.0, 0.08, place=0.1)
    for way in (plain.up_ms, plain.down_ms):
        assert len(way) == 4
        assert all(0 < delay < 250 for call in way for delay in call), way
    rise = held.rise_over(plain)
    assert rise["down"] == pytest.approx(80, abs=25)
    assert rise["up"] == pytest.approx(80, abs=60)  # a busy machine makes frames miss a worker's tick
