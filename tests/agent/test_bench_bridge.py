"""The delay arithmetic, on calls whose delays are known."""

import numpy as np
import pytest

from agent.bench_bridge import (
    BURST_FRAMES,
    Figures,
    Notes,
    PeerCall,
    Round,
    WatchingEngine,
    down_delays_s,
    up_delays_s,
)
from agent.bench_rtp import PACKET_S, PACKET_SAMPLES, RtpEnd, RtpPacket, Stamped, encode
from agent.wire import FRAME_SAMPLES
from tests.signals import tone

SOURCE = ("127.0.0.1", 4000)


def call_with(clicks: list[int], loud_at_s: list[float]) -> PeerCall:
    """A call whose packet k left at 100 s + 20 ms * k, and that heard sound at these times."""
    end = RtpEnd()
    end.close()
    quiet = RtpPacket(0, 0, 0, 1, encode(np.zeros(PACKET_SAMPLES, np.float32), "PCMU"))
    loud = RtpPacket(0, 0, 0, 1, encode(tone(1000, 0.02, 8_000), "PCMU"))
    end.sent.extend(Stamped(100.0 + PACKET_S * number, quiet, SOURCE) for number in range(500))
    for at_s in loud_at_s:
        end.received.append(Stamped(at_s - 0.001, quiet, SOURCE))
        end.received.append(Stamped(at_s, loud, SOURCE))
    return PeerCall(clicks, end)


@pytest.mark.parametrize("place", [0, 1, 479, 480, 1000, 1919])
def test_up_counts_from_the_packet_with_the_frames_last_sample(place: int) -> None:
    click = 10 * PACKET_SAMPLES + 37
    last_packet = (click + (1919 - place) // 3) // PACKET_SAMPLES
    collected_s = 100.0 + PACKET_S * last_packet + 0.033
    call = call_with([click, click + 50_000], [])
    assert up_delays_s(call, Notes(heard=[(collected_s, place)])) == pytest.approx([0.033])


def test_up_belongs_to_the_latest_click_that_had_left() -> None:
    call = call_with([1_600, 9_600, 17_600], [])
    notes = Notes(heard=[(100.0 + 0.02 * 61 + 0.05, 1919 - 3 * 160)])
    assert up_delays_s(call, notes) == pytest.approx([0.05])


def test_sound_that_was_never_said_is_not_measured() -> None:
    assert up_delays_s(call_with([1_600], []), Notes(heard=[(99.0, 0)])) == []


def test_down_counts_to_the_first_loud_packet() -> None:
    call = call_with([], [200.030, 200.050, 201.0])
    notes = Notes(said=[200.0, 200.96])
    assert down_delays_s(call, notes) == pytest.approx([0.030, 0.040])


def test_a_burst_that_never_came_is_not_taken_for_the_next() -> None:
    call = call_with([], [202.0])
    assert down_delays_s(call, Notes(said=[200.0, 201.97])) == pytest.approx([0.030])


def test_the_engine_notes_clicks_and_says_a_burst_at_a_frames_start() -> None:
    engine = WatchingEngine(2)
    engine.start(1, seed=0)
    frame = np.zeros((2, FRAME_SAMPLES), np.float32)
    frame[1, 77] = -0.4
    active = np.array([False, True])
    for _ in range(BURST_FRAMES - 1):
        assert not engine.step(frame, active).pcm.any()
    out = engine.step(np.zeros_like(frame), active)
    assert abs(out.pcm[1, 0]) > 0.4
    assert not out.pcm[0].any()
    assert out.text.tolist() == [-1, 3]
    notes = engine.calls[0]
    assert [place for _, place in notes.heard] == [77] * (BURST_FRAMES - 1)
    assert len(notes.said) == 1


def test_a_rise_is_counted_call_by_call_and_survives_one_odd_call() -> None:
    before = Round([[20.0, 22.0], [30.0], [35.0]], [[10.0], [12.0], [14.0]])
    after = Round([[61.0], [71.0, 69.0], [95.0]], [[50.0], [52.0], [54.0]])
    assert after.rise_over(before) == {"up": 40.0, "down": 40.0}


@pytest.mark.parametrize(
    ("p50", "p95", "rise", "is_within"),
    [(40, 60, 33, True), (41, 60, 40, False), (40, 61, 40, False), (30, 50, 31, False), (30, 50, 49, False)],
)
def test_the_bars_are_those_of_the_project(p50: float, p95: float, rise: float, is_within: bool) -> None:
    spread = {"p50": p50, "p95": p95, "max": 99.0}
    good = {"p50": 1.0, "p95": 1.0, "max": 1.0}
    for up, down in ((spread, good), (good, spread)):
        figures = Figures(up, down, 80.0, {}, {"40": {"up": 40.0, "down": rise}})
        assert figures.is_within is is_within
