"""Calls of the chorus are calls: the gateway hears each of them speak, and none is left."""

import json
import time

import pytest

from agent.bench_chorus import LOOP_S, PACKET_S, Chorus, _payloads
from agent.bench_gateway import GatewayProcess
from agent.bench_rtp import decode

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]


def test_every_caller_is_heard_and_hangs_up() -> None:
    settings = {"OFFHOOK_WORKER__ENGINE": "standin", "OFFHOOK_WORKER__SLOTS": "3"}
    with GatewayProcess(settings) as gateway:
        with Chorus(gateway, 3):
            deadline_s = time.monotonic() + 20
            while sum(call["num_turns"] > 0 for call in json.loads(gateway.get("/v1/calls"))["calls"]) < 3:
                assert time.monotonic() < deadline_s, gateway.calls()
                time.sleep(0.2)
        gateway.wait_until_idle()


def test_a_loop_is_a_turn_and_a_silence() -> None:
    payloads = _payloads()
    assert len(payloads) == round(LOOP_S / PACKET_S) and {len(one) for one in payloads} == {160}
    loud = [abs(decode(one, "PCMU")).max() > 0.05 for one in payloads]
    assert any(loud[:100]) and not any(loud[102:])
