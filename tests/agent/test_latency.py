"""A call's times."""

import math

import numpy as np
import pytest

from agent import metrics
from agent.floor import FloorEvent, FloorEventKind
from agent.latency import BridgeTimes, TurnTimes, down_delay_s, line_delay_s, percentile, up_delay_s
from telephony.endpoint import FRAME_SAMPLES, HeardFrame

HEARD = HeardFrame(np.zeros(FRAME_SAMPLES, np.float32), np.zeros(FRAME_SAMPLES, np.float32), 44, 100.0)


def sample(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize(("share", "value"), [(0.5, 3), (0.95, 5), (0.2, 1), (0.0, 1), (1.0, 5)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([5, 1, 4, 2, 3], share) == value
    assert math.isnan(percentile([], share))


def test_turns_are_kept_and_observed() -> None:
    turns = TurnTimes("webrtc")
    gaps = sample("offhook_response_gap_seconds_count", transport="webrtc")
    stops = sample("offhook_barge_in_stop_seconds_sum")
    turns.note(FloorEvent(FloorEventKind.RESPONSE, 2.5, 0.31))
    turns.note(FloorEvent(FloorEventKind.RESPONSE, 9.0, -0.1))
    turns.note(FloorEvent(FloorEventKind.BARGE_IN_STOP, 12.0, 0.38), line_delay_s=0.07)
    turns.note(FloorEvent(FloorEventKind.OVERLAP, 12.0, 0.45), line_delay_s=0.07)
    assert turns.gaps_s == [0.31, -0.1] and turns.stops_s == pytest.approx([0.45])
    assert sample("offhook_response_gap_seconds_count", transport="webrtc") == gaps + 2
    assert sample("offhook_barge_in_stop_seconds_sum") == pytest.approx(stops + 0.45)
    assert turns.events[-1].value_s == 0.45  # the line moves no overlap's length
    told = turns.as_json()
    assert told["response_gaps_s"] == [0.31, -0.1]
    counted = {"response": 2, "barge_in_stop": 1, "overlap": 1}
    assert told["counts"] == {kind.value: counted.get(kind.value, 0) for kind in FloorEventKind}


def test_the_way_up_counts_the_jitter_buffer_and_the_wait_for_the_tick() -> None:
    assert up_delay_s(HEARD, 0.02, 100.007) == pytest.approx(0.027)
    assert up_delay_s(HEARD, 0.02, 99.999) == pytest.approx(0.02)  # clocks of two machines may cross


@pytest.mark.parametrize(("sent_s", "to_tick_s"), [(100.030, 0.010), (100.0399, 0.0001), (100.021, 0.019)])
def test_the_way_down_ends_at_a_tick_after_what_waited(sent_s: float, to_tick_s: float) -> None:
    delay_s = down_delay_s(HEARD, sent_s - 0.002, sent_s, 480)
    assert delay_s == pytest.approx(0.002 + to_tick_s + 0.020)


def test_bridge_times_say_their_percentiles() -> None:
    bridge = BridgeTimes()
    assert bridge.as_json()["up_p50_s"] is None
    before = sample("offhook_bridge_delay_seconds_count", direction="down")
    for index in range(20):
        bridge.note(0.01 + index * 0.001, 0.03)
    told = bridge.as_json()
    assert told == {"up_p50_s": 0.019, "up_p95_s": 0.028, "down_p50_s": 0.03, "down_p95_s": 0.03}
    assert sample("offhook_bridge_delay_seconds_count", direction="down") == before + 20


def test_a_line_adds_two_paths_and_the_jitter_buffers() -> None:
    assert line_delay_s("PCMU/8000", 0.04) == pytest.approx(0.062)
    assert line_delay_s("G722/16000", 0.06) == pytest.approx(0.07875)
    assert line_delay_s("", 0.0) == 0
