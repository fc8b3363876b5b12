"""SIPp's calls are counted as SIPp counts them, and what it cannot do is told with a remedy."""

import argparse
from pathlib import Path

import pytest

from agent import bench_signalling
from agent.bench_gateway import GatewayProcess
from agent.bench_signalling import add_arguments, place, rates_table, run
from agent.errors import AgentError
from agent.load import Loading


def parsed(words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words.split())


@pytest.mark.loopback
@pytest.mark.redis
@pytest.mark.timeout(120)
def test_real_calls_are_begun_and_ended_and_refused_ones_are_failures() -> None:
    settings = {**Loading(1.0, 1.0).settings(4), "OFFHOOK_WORKER__SLOTS": "2", "OFFHOOK_WORKER__COUNT": "1"}
    with GatewayProcess(settings) as gateway:
        good = place(gateway, calls_per_s=2.0, seconds=1.0, hold_s=0.5)
        assert good.is_within and (good.num_calls, good.num_good, good.num_failed) == (2, 2, 0)
        assert 0 < good.setup_ms["p50"] <= good.setup_ms["max"] < 10_000
        gateway.wait_until_idle()
        crowded = place(gateway, calls_per_s=40.0, seconds=0.1, hold_s=3.0)  # four at once on two slots
        assert (crowded.num_good, crowded.num_failed) == (2, 2) and not crowded.is_within
    assert rates_table([good, crowded]).row_count == 2


def test_wrong_rates_and_a_missing_program_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="write numbers above 0"):
        run(parsed("--rates fast"), None)
    with pytest.raises(AgentError, match="write numbers above 0"):
        run(parsed("--rates 0"), None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AgentError, match="sip-tester"):
        run(parsed("--rates 1"), None)


def test_no_statistics_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="placed no call"):
        bench_signalling._read(tmp_path, 1.0, 1, None)  # type: ignore[arg-type]
