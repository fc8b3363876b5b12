"""The bench of WebRTC beside SIP: its arithmetic, and one short round on a real gateway."""

import asyncio

import numpy as np
import pytest

from agent import bench_webrtc as module
from agent.bench_gateway import GatewayProcess
from agent.bench_impairment import Impairment
from agent.bench_webrtc import (
    GREETING_S,
    HUM_S,
    TURN_S,
    Gaps,
    differences_ms,
    gaps_of,
    halved,
    measure,
    script,
)


def test_a_script_hums_at_known_times() -> None:
    pcm, ends = script(3, 8_000)
    assert ends == [round((GREETING_S + turn * TURN_S) * 8_000) + round(HUM_S * 8_000) for turn in range(3)]
    assert all(np.abs(pcm[end - 80 : end]).max() > 0.1 and not pcm[end : end + 8_000].any() for end in ends)


def test_gaps_are_sorted_by_the_networks_state() -> None:
    gaps = gaps_of([1.0, 4.0, 8.0, 20.0, 30.0], [0.5, 1.4, 4.3, 20.25, 34.0], clean_from_s=7.0)
    assert gaps.during_s == pytest.approx([0.4, 0.3])
    assert gaps.after_s == pytest.approx([0.25])
    assert gaps.missed == 2  # 8.0 and 30.0


def test_the_bars_compare_medians() -> None:
    clean = {"sip": Gaps([0.3, 0.5]), "webrtc": Gaps([0.42, 0.44])}
    lossy = {"sip": Gaps(), "webrtc": Gaps([0.5, 0.52], [0.44])}
    found = differences_ms({Impairment().name: clean, Impairment(loss=0.05).name: lossy})
    assert found == pytest.approx(
        {"beside SIP, clean": 30, "more at 5 % loss": 80, "more 5 s after": 10}, abs=0.01
    )


def test_networks_turn_clean_halfway() -> None:
    assert halved(Impairment(), 10) == Impairment()
    assert halved(Impairment(loss=0.1), 10) == Impairment(loss=0.1, lasts_s=GREETING_S + 5 * TURN_S)


@pytest.mark.loopback
@pytest.mark.redis
def test_both_transports_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GREETING_S", 1.4)  # the stand-in's takes a second
    settings = {"OFFHOOK_WORKER__ENGINE": "standin", "OFFHOOK_WORKER__SLOTS": "2"}
    with GatewayProcess(settings) as gateway:
        found = asyncio.run(measure(gateway, Impairment(), 1, 1))
    for gaps in found.values():
        assert gaps.missed == 0 and 0.2 < gaps.during_s[0] < 0.8
    assert found["webrtc"].caption_lags_s
