"""Real calls of the generator: each hears its own agent, losses stay in their calls, callers may move."""

import socket
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from agent.bench_gateway import GatewayProcess
from agent.bench_impairment import Impairment
from agent.load_generator import Generator
from agent.load_media import PACKET_BYTES, Chorus, Group
from agent.load_speech import Program, programs

HOST = "127.0.0.1"
HOLD_S = 5.0
NUM_CALLS = 3


@pytest.fixture(scope="module")
def callers() -> tuple[Program, ...]:
    return programs(2, num_sentences=1)


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind((HOST, 0))
        end.settimeout(5)
        yield end


def packet(sequence: int, timestamp: int, payload: bytes = bytes([0x00] * 160)) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, sequence, timestamp, 9) + payload


def test_a_group_sends_each_call_its_own_sound_and_hears_only_whom_it_calls(
    far: socket.socket, callers: tuple[Program, ...]
) -> None:
    chorus = Chorus(callers)
    group = Group(HOST, 0, chorus, 100)
    row = group.reserve()
    assert row == 0
    group.start(row, 1, far.getsockname(), 5, None)
    lead = Program.lead_packets()
    for index in range(lead + 2):
        group.send(100.0 + 0.02 * index)
        raw = far.recv(2000)
        assert len(raw) == PACKET_BYTES
        _, kind, sequence, timestamp, ssrc = struct.unpack("!BBHII", raw[:12])
        assert (kind, sequence, timestamp, ssrc) == (0x80 if not index else 0, index, 160 * index, 5)
        spoken = index - lead
        assert raw[12:] == (bytes([0xFF] * 160) if spoken < 0 else callers[1].codes[spoken].tobytes())
    us = (HOST, group.socket.port)
    for sequence, timestamp in ((65_535, 1_000), (0, 1_160), (2, 1_480), (2, 1_480), (1, 1_320)):
        far.sendto(packet(sequence, timestamp), us)
    far.sendto(packet(3, 1_640)[:100], us)  # no 20 ms
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(packet(4, 1_800), us)
    group.receive()
    heard = group.stop(row)
    assert heard is not None and group.num_foreign == 1
    assert len(heard.sent_s) == lead + 2 and heard.sent_s[1] == pytest.approx(100.02)
    assert len(heard.at_s) == 4 and not np.isnan(heard.at_s).any(), "in order, across the wrap"
    np.testing.assert_allclose(heard.media_s, [0.0, 0.02, 0.04, 0.06])
    assert (heard.num_strange, heard.num_doubles) == (1, 1) and (heard.power > 0.1).all()
    assert group.reserve() == 0, "its room is free again"
    group.start(0, 0, far.getsockname(), 6, None)
    nothing = group.stop(0)
    assert nothing is not None and not len(nothing.at_s) and not len(nothing.sent_s)
    group.close()


@pytest.mark.loopback
@pytest.mark.redis
@pytest.mark.timeout(120)
def test_calls_over_a_bad_network_lose_what_it_takes_and_all_may_move(callers: tuple[Program, ...]) -> None:
    settings = {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": str(NUM_CALLS),
        "OFFHOOK_WEBRTC__ENABLED": "false",
    }
    bad = Impairment(loss=0.1, burst=3)
    with GatewayProcess(settings) as gateway, Generator(gateway.address, callers, HOLD_S) as generator:
        for number in range(NUM_CALLS):
            generator.place(HOLD_S, bad if number == 1 else None, f"arm {number}", number % 2)
        generator.run(1.5)
        assert generator.num_talking == NUM_CALLS
        assert generator.move_to("127.0.0.3") == NUM_CALLS
        generator.run_until_over()
        ended = {call.arm: call for call in generator.take_ended()}
        assert generator.num_live == 0 and generator.num_dropped == 0
        gateway.wait_until_idle()
    assert len(ended) == NUM_CALLS
    for arm, call in ended.items():
        verdict = call.verdict
        assert not verdict.failure, verdict
        assert verdict.setup_s is not None and verdict.num_sent == pytest.approx(HOLD_S * 50, abs=25)
        expected = verdict.num_received + verdict.num_lost
        assert expected == pytest.approx(HOLD_S * 50, abs=50), "also what came to the new address"
        lost = verdict.num_lost / expected
        assert 0.02 < lost < 0.25 if arm == "arm 1" else lost < 0.01
        assert verdict.num_silent_seconds == 0 and (verdict.was_greeted or arm == "arm 1")
