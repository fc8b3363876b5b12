"""RTP headers and reports against aiortc's reader; digits out of their packets."""

import struct

import pytest
from aiortc.rtp import RtcpPacket, RtcpReceiverInfo, RtcpRrPacket, RtcpSdesPacket, RtcpSrPacket, RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from telephony.errors import MalformedPacket
from telephony.webrtc_rtp import (
    MAX_STREAMS,
    HeardStream,
    PressedDigits,
    SentStream,
    ntp_time,
    report_packet,
)


def rtp(sequence: int, timestamp: int = 0, ssrc: int = 9, payload: bytes = b"x") -> RtpPacket:
    packet = RtpPacket(payload_type=111, sequence_number=sequence, timestamp=timestamp, ssrc=ssrc)
    packet.payload = payload
    return packet


def test_packets_are_numbered_and_timed_by_their_ticks() -> None:
    sent = SentStream(111)
    packets = [RtpPacket.parse(sent.packet(tick, b"sound")) for tick in (100, 101, 104)]
    first = packets[0]
    assert {packet.ssrc for packet in packets} == {sent.ssrc}
    assert [packet.payload_type for packet in packets] == [111] * 3 and first.payload == b"sound"
    assert [(packet.sequence_number - first.sequence_number) & 0xFFFF for packet in packets] == [0, 1, 2]
    assert [(packet.timestamp - first.timestamp) & 0xFFFFFFFF for packet in packets] == [0, 960, 3840]
    assert (sent.num_packets, sent.num_bytes) == (3, 15)


def test_what_the_far_end_reports_is_loss_and_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_700_000_000.25
    monkeypatch.setattr("telephony.webrtc_rtp.time.time", lambda: now_s)
    sent = SentStream(111)
    lsr = (ntp_time(now_s - 0.150) >> 16) & 0xFFFFFFFF
    sent.note(RtcpReceiverInfo(sent.ssrc, 26, 12, 0, 0, lsr, round(0.1 * 65536)))
    assert (sent.num_lost, sent.loss_percent) == (12, 11)
    assert sent.round_trip_s == pytest.approx(0.05, abs=0.001)
    sent.note(RtcpReceiverInfo(sent.ssrc + 1, 255, 99, 0, 0, 0, 0))
    assert sent.num_lost == 12  # somebody else's


def test_our_reports_can_be_read() -> None:
    sent, heard = SentStream(111), HeardStream()
    first = RtcpPacket.parse(report_packet(sent, heard))
    assert isinstance(first[0], RtcpRrPacket) and first[0].reports == []
    sent.packet(1, b"x")
    for sequence in (65_534, 65_535, 1):
        heard.note(rtp(sequence & 0xFFFF, timestamp=sequence * 960))
    assert (heard.num_packets, heard.num_lost) == (3, 1)
    report, about = RtcpPacket.parse(report_packet(sent, heard))
    assert isinstance(report, RtcpSrPacket) and isinstance(about, RtcpSdesPacket)
    assert report.sender_info.packet_count == 1
    (told,) = report.reports
    assert (told.ssrc, told.packets_lost, told.fraction_lost, told.lsr) == (9, 1, 64, 0)
    heard.note_report(report.__class__(9, sent.sender_info()))
    assert heard.report()[0].lsr > 0 and heard.jitter_s >= 0


def test_streams_without_end_are_not_kept() -> None:
    heard = HeardStream()
    for ssrc in range(100):
        heard.note(rtp(1, ssrc=ssrc))
    assert heard.num_packets == MAX_STREAMS


def test_a_press_is_one_digit_however_many_packets_it_has() -> None:
    digits = PressedDigits()
    found = ""
    for stamp, code in ((0, 5), (0, 5), (0, 5), (2**32 - 480, 11), (960, 5), (960, 5), (960 + 4800, 0)):
        payload = struct.pack("!BBH", code, 10, 160)
        found += digits.read(rtp(1, timestamp=stamp, payload=payload))
    assert found == "5" + "5" + "0"  # what came late, from before the last press, is old


@given(st.binary(max_size=8))
def test_any_payload_is_a_digit_or_malformed(payload: bytes) -> None:
    try:
        assert len(PressedDigits().read(rtp(1, payload=payload))) == 1
    except MalformedPacket as error:
        assert "telephone-event" in str(error)
