"""One RTP stream each way and their reports: numbers and timestamps, loss, jitter, round trip. No I/O here.

Source: RFC 3550 sections 5.1, 6.4 and A; RFC 4733 section 2.3 for digits.
"""

import secrets
import struct
import time

from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import (
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    RtpPacket,
)

from telephony.errors import MalformedPacket
from telephony.packet_audio import RTP_CLOCK_HZ, RTP_PER_TICK

DIGITS = "0123456789*#ABCD"
NTP_EPOCH_S = 2_208_988_800  # 1970 on NTP's clock
CNAME = b"offhook"
MAX_STREAMS = 8  # SSRCs that one peer may send in turn; of more, the later ones are not counted


def ntp_time(unix_s: float) -> int:
    """64 bits: seconds since 1900 and their fraction."""
    return int((unix_s + NTP_EPOCH_S) * 2**32)


class SentStream:
    """What we send: every packet's header, and what the far end reports of it."""

    def __init__(self, payload_type: int) -> None:
        self.ssrc = secrets.randbits(32)
        self.num_packets = 0
        self.num_bytes = 0
        self.num_lost = 0
        self.round_trip_s = 0.0
        self.loss_percent = 0  # of the latest report's interval
        self._payload_type = payload_type
        self._sequence = secrets.randbits(15)
        self._origin = secrets.randbits(32)
        self._latest_rtp = 0

    def packet(self, tick: int, payload: bytes) -> bytes:
        """The packet of that tick; timestamps follow the clock, so a lost tick is a gap and no shift."""
        self._latest_rtp = (self._origin + tick * RTP_PER_TICK) & 0xFFFFFFFF
        header = struct.pack("!BBHII", 0x80, self._payload_type, self._sequence, self._latest_rtp, self.ssrc)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.num_packets += 1
        self.num_bytes += len(payload)
        return header + payload

    def sender_info(self) -> RtcpSenderInfo:
        """Our half of a sender report."""
        return RtcpSenderInfo(
            ntp_timestamp=ntp_time(time.time()) & (2**64 - 1),
            rtp_timestamp=self._latest_rtp,
            packet_count=self.num_packets & 0xFFFFFFFF,
            octet_count=self.num_bytes & 0xFFFFFFFF,
        )

    def note(self, report: RtcpReceiverInfo) -> None:
        """Take what the far end says of us."""
        if report.ssrc != self.ssrc:
            return
        self.num_lost = max(0, report.packets_lost)
        self.loss_percent = -(-100 * report.fraction_lost // 256)
        if report.lsr:
            now = (ntp_time(time.time()) >> 16) & 0xFFFFFFFF
            trip = (now - report.lsr - report.dlsr) & 0xFFFFFFFF
            if trip < 0x80000000:  # else the far end's clockwork is wrong
                self.round_trip_s = trip / 65536


class HeardStream:
    """What we receive: who sends it, how regularly, and how much of it is missing."""

    def __init__(self) -> None:
        self._streams: dict[int, StreamStatistics] = {}
        self._latest: int | None = None
        self._reported: dict[int, tuple[int, float]] = {}  # ssrc: middle of its NTP time, when it came

    def note(self, packet: RtpPacket) -> None:
        """Count one packet."""
        statistics = self._streams.get(packet.ssrc)
        if statistics is None:
            if len(self._streams) >= MAX_STREAMS:
                return
            statistics = self._streams[packet.ssrc] = StreamStatistics(RTP_CLOCK_HZ)
        statistics.add(packet)
        self._latest = packet.ssrc

    def note_report(self, report: RtcpSrPacket) -> None:
        """Remember a sender report, which our next report names."""
        if report.ssrc in self._streams:
            middle = (report.sender_info.ntp_timestamp >> 16) & 0xFFFFFFFF
            self._reported[report.ssrc] = (middle, time.monotonic())

    def report(self) -> list[RtcpReceiverInfo]:
        """What we say of the stream that is heard now; nothing before its first packet."""
        if self._latest is None:
            return []
        statistics = self._streams[self._latest]
        lsr, at_s = self._reported.get(self._latest, (0, 0.0))
        waited = int((time.monotonic() - at_s) * 65536) & 0xFFFFFFFF if lsr else 0
        return [
            RtcpReceiverInfo(
                ssrc=self._latest,
                fraction_lost=min(255, statistics.fraction_lost),
                packets_lost=statistics.packets_lost,
                highest_sequence=(statistics.cycles + (statistics.max_seq or 0)) & 0xFFFFFFFF,
                jitter=statistics.jitter & 0xFFFFFFFF,
                lsr=lsr,
                dlsr=waited,
            )
        ]

    @property
    def num_packets(self) -> int:
        """Received so far."""
        return sum(one.packets_received for one in self._streams.values())

    @property
    def num_lost(self) -> int:
        """Missing so far, less those that came twice."""
        return sum(max(0, one.packets_lost) for one in self._streams.values())

    @property
    def jitter_s(self) -> float:
        """Of the stream that is heard now (RFC 3550 section 6.4.1)."""
        if self._latest is None:
            return 0.0
        return float(self._streams[self._latest].jitter) / RTP_CLOCK_HZ


def report_packet(sent: SentStream, heard: HeardStream) -> bytes:
    """One compound RTCP packet: a sender report once we have sent, else a receiver's; and our name."""
    reports = heard.report()
    about = RtcpSdesPacket(chunks=[RtcpSourceInfo(ssrc=sent.ssrc, items=[(1, CNAME)])])
    if sent.num_packets:
        return bytes(RtcpSrPacket(sent.ssrc, sent.sender_info(), reports)) + bytes(about)
    return bytes(RtcpRrPacket(sent.ssrc, reports)) + bytes(about)


class PressedDigits:
    """Digits out of telephone-event packets, each once: all packets of a press have its timestamp."""

    def __init__(self) -> None:
        self._latest: tuple[int, int] | None = None

    def read(self, packet: RtpPacket) -> str:
        """The digit whose press begins with this packet, else "".

        Raises MalformedPacket if it is short or names no digit.
        """
        payload = packet.payload
        if len(payload) < 4 or payload[0] >= len(DIGITS):
            raise MalformedPacket(f"telephone-event of {len(payload)} bytes is not a DTMF digit")
        press = (packet.ssrc, packet.timestamp)
        is_new = self._is_after(press)
        if is_new:
            self._latest = press
        return DIGITS[payload[0]] if is_new else ""

    def _is_after(self, press: tuple[int, int]) -> bool:
        if self._latest is None or self._latest[0] != press[0]:
            return True
        ahead = (press[1] - self._latest[1]) & 0xFFFFFFFF
        return 0 < ahead < 0x80000000
