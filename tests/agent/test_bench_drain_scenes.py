"""A gateway stops under real calls: some end by themselves, the others are handed over, none is cut."""

import pytest

from agent import bench_drain_scenes
from agent.bench_drain import judge
from agent.bench_drain_scenes import BRIEF, gateway_settings, outlive
from agent.settings_reader import load_settings


@pytest.mark.loopback
@pytest.mark.redis
@pytest.mark.timeout(120)
def test_a_drain_refuses_newcomers_lets_calls_end_and_hands_over_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_drain_scenes, "SETTLE_S", 1.0)
    taken = outlive(2, 4.0)
    found = judge(taken)
    assert found.faults == (), found
    assert (found.num_calls, found.num_cut, found.num_handed_over) == (2 + BRIEF, 0, 2)
    by_caller = [one for one in taken.ended if not one.is_follower and not one.referred_to]
    assert len(by_caller) == BRIEF and not any(one.by_far for one in by_caller)
    assert found.exit_codes == (0,) and 0 <= found.exit_after_s < 8
    assert set(found.newcomers) == {"INVITE 503", "OPTIONS 503"}
    assert all(probe.retry_after == "5" for probe in taken.probes)
    assert found.silences_ms["max"] < 1000, "sound went on"


def test_gateways_beside_each_other_share_no_rtp_port() -> None:
    one, other = (load_settings(gateway_settings(4, index)).sip for index in (0, 1))
    assert one.rtp_port_max < other.rtp_port_min
