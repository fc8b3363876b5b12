"""Calls of the chorus are calls: the gateway hears each of them speak, and none is left."""

import json
import time
from pathlib import Path

import pytest

from agent.bench_chorus import LOOP_S, PACKET_S, Chorus, _payloads
from agent.bench_gateway import GatewayProcess
from agent.bench_rtp import decode

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]


def test_every_caller_is_heard_and_hangs_up(tmp_path: Path) -> None:
    settings = {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": "3",
        "OFFHOOK_RECORDING__FOLDER": str(tmp_path),
    }
    with GatewayProcess(settings) as gateway:
        with Chorus(gateway, 3):
            time.sleep(LOOP_S)
        gateway.wait_until_idle()
    sidecars = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert len({sidecar["caller_hash"] for sidecar in sidecars}) == 3
    for sidecar in sidecars:
        assert sidecar["end_reason"] == "caller_hung_up"
        assert any(word["speaker"] == "caller" for word in sidecar["words"]), sidecar


def test_a_loop_is_a_turn_and_a_silence() -> None:
    payloads = _payloads()
    assert len(payloads) == round(LOOP_S / PACKET_S) and {len(one) for one in payloads} == {160}
    loud = [abs(decode(one, "PCMU")).max() > 0.05 for one in payloads]
    assert any(loud[:100]) and not any(loud[102:])
