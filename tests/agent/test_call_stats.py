"""Network figures of a call, as metrics."""

from dataclasses import replace

import pytest

from agent import metrics
from agent.call_stats import CallStats
from telephony.endpoint import FRAME_SAMPLES, EndpointStats
from tests.fakes import FakeEndpoint


def sample(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def totals() -> dict[str, float]:
    return {
        "in": sample("offhook_rtp_packets_total", direction="in"),
        "lost in": sample("offhook_rtp_lost_total", direction="in"),
        "lost out": sample("offhook_rtp_lost_total", direction="out"),
        "underruns": sample("offhook_playout_underruns_total"),
        "late": sample("offhook_playout_dropped_frames_total"),
        "scored": sample("offhook_mos_count"),
    }


def test_counts_grow_by_what_came_since_the_last_look() -> None:
    endpoint, before = FakeEndpoint(), totals()
    stats = CallStats(endpoint, endpoint.clock)
    figures = EndpointStats("PCMU/8000", rx_packets=100, rx_lost=2, tx_lost=1, playout_underruns=3)
    endpoint.figures = figures
    stats.observe(FRAME_SAMPLES - 1)
    endpoint.figures = replace(figures, rx_packets=150, rx_lost=3)
    stats.observe(FRAME_SAMPLES + 5)
    score = stats.finish(2 * FRAME_SAMPLES)
    grown = {name: value - before[name] for name, value in totals().items()}
    assert grown == {"in": 150, "lost in": 3, "lost out": 1, "underruns": 3, "late": 2, "scored": 1}
    assert score == pytest.approx(4.24, abs=0.01)  # 3 of 153 packets lost


def test_a_call_too_short_to_judge_has_no_score() -> None:
    endpoint = FakeEndpoint()
    endpoint.figures = EndpointStats(rx_packets=10)
    assert CallStats(endpoint, endpoint.clock).finish(0) is None


def test_silence_on_the_wire_is_timed_and_hold_excuses_it() -> None:
    endpoint = FakeEndpoint()
    stats = CallStats(endpoint, endpoint.clock)
    endpoint.clock.advance(5)
    stats.observe(0)
    assert stats.silent_s == pytest.approx(5)
    stats.observe(0, is_held=True)
    assert stats.silent_s == 0
    endpoint.clock.advance(2)
    endpoint.figures = EndpointStats(rx_packets=1)
    stats.observe(0)
    assert stats.silent_s == 0
