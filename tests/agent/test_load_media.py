"""Packets of a load: each call says its own and hears its own, and a pitch tells whose line it is."""

import socket
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from agent.bench_rtp import PACKET_SAMPLES, RATE_HZ
from agent.load_media import NUM_LINES, PACKET_BYTES, Chorus, Group, lines_of
from agent.load_speech import Program, program_of
from agent.standin import line_hz

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def callers() -> tuple[Program, ...]:
    at = np.arange(RATE_HZ) / RATE_HZ
    return tuple(program_of([np.sin(hz * at).astype(np.float32)]) for hz in (900.0, 1_300.0))


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


def test_every_pitch_is_told_from_every_other_and_from_speech() -> None:
    at = np.arange(PACKET_SAMPLES) / RATE_HZ
    tones = np.stack([0.1 * np.sin(2 * np.pi * line_hz(n) * at + n) for n in range(NUM_LINES)])
    odd = np.stack([0.1 * np.sin(2 * np.pi * 150 * at), 1e-4 * tones[0]])
    samples = np.concatenate([tones, odd]).astype(np.float32)
    power = np.mean(np.square(samples), axis=1)
    assert lines_of(samples, power).tolist() == [*range(NUM_LINES), -1, -1]
