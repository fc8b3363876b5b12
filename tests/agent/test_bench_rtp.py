"""The measuring RTP end: exact G.711, honest stamps, and a held packet shows as held."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bench_rtp import PACKET_S, PACKET_SAMPLES, RtpEnd, RtpPacket, decode, encode
from telephony.errors import MalformedPacket
from tests.signals import fit_tone, tone


def test_a_packet_comes_back_whole() -> None:
    packet = RtpPacket(8, 65_535, 2**32 - 1, 0xDEADBEEF, b"speech", marker=True)
    assert RtpPacket.parse(packet.pack()) == packet


def test_padding_sources_and_extension_are_no_payload() -> None:
    head = bytes([0x80 | 0x20 | 0x10 | 2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3])
    sources, extension = bytes(8), bytes([0xBE, 0xDE, 0, 1, 9, 9, 9, 9])
    assert RtpPacket.parse(head + sources + extension + b"abc" + bytes([0, 0, 3])).payload == b"abc"


@given(st.binary(max_size=80))
def test_random_bytes_raise_nothing_but_our_error(datagram: bytes) -> None:
    try:
        RtpPacket.parse(datagram)
    except MalformedPacket as error:
        assert "RTP packet" in str(error)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_g711_keeps_every_code_and_a_tone(codec: str) -> None:
    codes = bytes(range(256))
    again = encode(decode(codes, codec), codec)
    np.testing.assert_array_equal(decode(again, codec), decode(codes, codec))  # mu-law has two zeros
    pcm = tone(1004, 0.5, 8_000)
    assert fit_tone(decode(encode(pcm, codec), codec), 1004, 8_000).snr_db > 37  # G.711's own noise


def test_g711_codes_are_those_of_the_standard() -> None:
    assert encode(np.zeros(1, np.float32), "PCMA") == b"\xd5"
    assert encode(np.zeros(1, np.float32), "PCMU") == b"\xff"
    assert decode(b"\x80\x00", "PCMU") * 32_768 == pytest.approx([32_124, -32_124])
    assert decode(b"\xaa\x2a", "PCMA") * 32_768 == pytest.approx([32_256, -32_256])


def talk(hold_s: float) -> tuple[RtpEnd, RtpEnd]:
    """What two ends heard of each other in a third of a second; the first holds its packets."""
    ends = RtpEnd(hold_s=hold_s), RtpEnd()
    try:
        ends[1].play(tone(440, 0.3, 8_000))
        ends[0].press("7#")
        for end, other in (ends, ends[::-1]):
            end.start(("127.0.0.1", other.port))
        deadline = time.monotonic() + 5
        while len(ends[1].received) < 25 and time.monotonic() < deadline:
            ends[0]._stop.wait(0.01)
    finally:
        for end in ends:
            end.close()
    return ends


def test_two_ends_hear_each_other_at_the_pace_of_the_clock() -> None:
    first, second = talk(0.0)
    assert fit_tone(first.heard()[:2400], 440, 8_000).snr_db > 35
    assert second.heard_digits() == "7#"
    stamps = [item.at_s for item in second.sent]
    assert (stamps[-1] - stamps[0]) / (len(stamps) - 1) == pytest.approx(PACKET_S, rel=0.2)
    steps = np.diff([item.packet.timestamp for item in second.sent])
    assert set(steps) == {PACKET_SAMPLES}


@pytest.mark.parametrize("hold_s", [0.0, 0.04])
def test_a_known_delay_shows_in_full_both_ways(hold_s: float) -> None:
    first, second = talk(hold_s)
    for sender, receiver in ((first, second), (second, first)):
        sent = {item.packet.sequence: item.at_s for item in sender.sent}
        delays = [item.at_s - sent[item.packet.sequence] for item in receiver.received]
        assert float(np.median(delays)) == pytest.approx(hold_s, abs=0.008)
