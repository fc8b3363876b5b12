"""A bare RTP end for measuring: it paces packets, and stamps each one with the monotonic clock.

It shares no code with the gateway's media, so that neither hides the other's mistakes. G.711 only.
"""

from __future__ import annotations

import heapq
import secrets
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.bench_impairment import Impairment, Network
from telephony.audio import Pcm, to_float, to_int16
from telephony.errors import MalformedPacket

RATE_HZ = 8_000
PACKET_SAMPLES = 160  # 20 ms
PACKET_S = PACKET_SAMPLES / RATE_HZ
PAYLOAD_TYPES = {"PCMU": 0, "PCMA": 8}
EVENT_TYPE = 101  # RFC 4733 telephone-event, as our SDP maps it
DIGITS = "0123456789*#ABCD"
KEPT_PACKETS = 50 * 3600  # an hour each way; then the oldest are forgotten


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One RTP packet (RFC 3550 section 5.1), without header extension."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def pack(self) -> bytes:
        """The packet's bytes."""
        second = self.marker << 7 | self.payload_type
        return struct.pack("!BBHII", 0x80, second, self.sequence, self.timestamp, self.ssrc) + self.payload

    @classmethod
    def parse(cls, datagram: bytes) -> RtpPacket:
        """Read one packet. Raises MalformedPacket if it is not RTP version 2 or is cut short."""
        if len(datagram) < 12 or datagram[0] >> 6 != 2:
            raise MalformedPacket(f"{len(datagram)} bytes are not an RTP packet")
        first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", datagram)
        start, end = 12 + 4 * (first & 0x0F), len(datagram)
        if first & 0x10 and len(datagram) >= start + 4:
            start += 4 + 4 * struct.unpack_from("!H", datagram, start + 2)[0]
        if first & 0x20:
            end -= datagram[-1]
        if start > end:
            raise MalformedPacket(f"an RTP packet of {len(datagram)} bytes is shorter than its header says")
        return cls(second & 0x7F, sequence, timestamp, ssrc, datagram[start:end], bool(second & 0x80))


@lru_cache(maxsize=2)
def _levels(codec: str) -> NDArray[np.int16]:
    """The 16-bit level of each of the 256 G.711 codes."""
    codes = np.arange(256)
    if codec == "PCMU":
        bits = ~codes & 0xFF
        size = (((bits & 0x0F) << 3) + 0x84 << ((bits >> 4) & 7)) - 0x84
        return np.where(bits & 0x80, -size, size).astype(np.int16)
    bits = codes ^ 0x55
    exponent, mantissa = (bits >> 4) & 7, (bits & 0x0F) << 4
    size = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(bits & 0x80, size, -size).astype(np.int16)


@lru_cache(maxsize=2)
def _ladder(codec: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Decision levels between neighbours, and the codes in rising order."""
    levels = _levels(codec).astype(np.float64)
    order = np.argsort(levels, kind="stable")
    return (levels[order][1:] + levels[order][:-1]) / 2, order.astype(np.uint8)


def encode(pcm: Pcm, codec: str) -> bytes:
    """G.711 of float32 [T] at 8 kHz: the nearest of the 256 levels, one byte each."""
    decisions, codes = _ladder(codec)
    return codes[np.searchsorted(decisions, to_int16(pcm), side="right")].tobytes()


def decode(payload: bytes, codec: str) -> Pcm:
    """float32 [T] at 8 kHz of G.711 bytes."""
    return to_float(_levels(codec)[np.frombuffer(payload, np.uint8)])


def in_order(packets: Sequence[RtpPacket], codec: str) -> Pcm:
    """float32 [T] at 8 kHz of a stream's sound, from its earliest RTP timestamp on; gaps are silence."""
    speech = [packet for packet in packets if packet.payload_type == PAYLOAD_TYPES[codec]]
    if not speech:
        return np.zeros(0, np.float32)
    places = [(packet.timestamp - speech[0].timestamp + 2**31) % 2**32 - 2**31 for packet in speech]
    origin = min(places)
    out = np.zeros(max(places) - origin + PACKET_SAMPLES, np.float32)
    for place, packet in zip(places, speech, strict=True):
        pcm = decode(packet.payload, codec)[: len(out) - (place - origin)]
        out[place - origin : place - origin + len(pcm)] = pcm
    return out


@dataclass(frozen=True, slots=True)
class Stamped:
    """One packet and when it passed the network's edge, by time.monotonic()."""

    at_s: float
    packet: RtpPacket
    source: tuple[str, int]


class RtpEnd:
    """One end of a G.711 stream: two threads, one paces what is played, one stamps what arrives.

    `hold_s` keeps each packet that long outside the stamps, both ways: a known delay that a
    measurement must show; `impairment` is a bad network, both ways. Sound to play is bounded by memory
    alone; packets are kept for an hour.
    """

    def __init__(
        self,
        codec: str = "PCMU",
        address: str = "127.0.0.1",
        hold_s: float = 0.0,
        impairment: Impairment | None = None,
        seed: int = 0,
    ) -> None:
        self.codec, self.hold_s = codec, hold_s
        self._to_far = Network(impairment or Impairment(), 2 * seed)
        self._from_far = Network(impairment or Impairment(), 2 * seed + 1)
        self.ssrc = secrets.randbits(32)
        self.sent: deque[Stamped] = deque(maxlen=KEPT_PACKETS)
        self.received: deque[Stamped] = deque(maxlen=KEPT_PACKETS)
        self.malformed = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.settimeout(0.1)
        self._remote: tuple[str, int] | None = None
        self._sound: deque[Pcm] = (
            deque()
        )  # packets' worth each; written by callers, read by the pacing thread
        self._digits: deque[tuple[str, float]] = deque()
        self._wire: list[tuple[float, int, bytes]] = []  # packets held back, by when they may leave
        self._sequence = secrets.randbits(15)
        self._timestamp = secrets.randbits(31)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """Our port, for the SDP."""
        port: int = self._socket.getsockname()[1]
        return port

    def start(self, remote: tuple[str, int], phase_s: float = 0.0) -> None:
        """Send to `remote` from now on, silence if nothing is played; `phase_s` delays the first packet."""
        self._remote = remote
        self._threads = [
            threading.Thread(target=self._pace, args=(phase_s,), name="rtp-pace", daemon=True),
            threading.Thread(target=self._listen, name="rtp-listen", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def play(self, pcm: Pcm) -> None:
        """Queue float32 [T] at 8 kHz; the last packet is filled up with silence."""
        padded = np.concatenate([pcm, np.zeros(-len(pcm) % PACKET_SAMPLES, np.float32)])
        self._sound.extend(padded.reshape(-1, PACKET_SAMPLES))

    def press(self, digits: str, seconds: float = 0.1) -> None:
        """Queue digits as RFC 4733 events of this length, 60 ms apart."""
        self._digits.extend((digit, seconds) for digit in digits)

    @property
    def is_playing(self) -> bool:
        """True while queued sound or digits have not all left."""
        return bool(self._sound or self._digits)

    def send_raw(self, datagram: bytes) -> None:
        """Send any bytes to the far end, now."""
        assert self._remote is not None
        self._socket.sendto(datagram, self._remote)

    def close(self) -> None:
        """Stop both threads and free the port."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def heard(self) -> Pcm:
        """All that arrived, in the order of RTP timestamps; gaps are silence."""
        return in_order([item.packet for item in self.received], self.codec)

    def heard_digits(self) -> str:
        """The digits that arrived as RFC 4733 events; an event's packets share one timestamp."""
        events: dict[int, str] = {}
        for item in self.received:
            code = item.packet.payload[:1]
            if item.packet.payload_type == EVENT_TYPE and code and code[0] < len(DIGITS):
                events[item.packet.timestamp] = DIGITS[code[0]]
        return "".join(events.values())

    def _pace(self, phase_s: float) -> None:
        due = time.monotonic() + phase_s
        while not self._stop.is_set():
            self._wait_until(due)
            if self._digits:
                due = self._send_digit(*self._digits.popleft(), due)
                continue
            pcm = self._sound.popleft() if self._sound else np.zeros(PACKET_SAMPLES, np.float32)
            self._send(PAYLOAD_TYPES[self.codec], encode(pcm, self.codec), self._timestamp)
            self._timestamp = (self._timestamp + PACKET_SAMPLES) % 2**32
            due += PACKET_S

    def _send_digit(self, digit: str, seconds: float, due: float) -> float:
        """Send one event: updates each 20 ms, its end three times (RFC 4733 section 2.5.1.4), a pause."""
        start, steps = self._timestamp, max(2, round(seconds / PACKET_S))
        for step in range(1, steps + 3):
            self._wait_until(due)
            last = 0x80 if step >= steps else 0
            duration = min(step, steps) * PACKET_SAMPLES
            payload = struct.pack("!BBH", DIGITS.index(digit), last | 10, duration)
            self._send(EVENT_TYPE, payload, start, marker=step == 1)
            due += PACKET_S
        self._timestamp = (start + (steps + 5) * PACKET_SAMPLES) % 2**32
        return due + 3 * PACKET_S

    def _wait_until(self, due: float) -> None:
        """Let held packets go while waiting."""
        while not self._stop.is_set():
            now = time.monotonic()
            while self._wire and self._wire[0][0] <= now:
                self.send_raw(heapq.heappop(self._wire)[2])
            if now >= due:
                return
            target = min(due, self._wire[0][0]) if self._wire else due
            time.sleep(max(0.0, target - now))

    def _send(self, payload_type: int, payload: bytes, timestamp: int, marker: bool = False) -> None:
        packet = RtpPacket(payload_type, self._sequence, timestamp, self.ssrc, payload, marker)
        assert self._remote is not None
        at_s = time.monotonic()
        due_s = self._to_far.delivery_s(at_s)
        if due_s is not None and due_s + self.hold_s > at_s:
            heapq.heappush(self._wire, (due_s + self.hold_s, len(self.sent), packet.pack()))
        elif due_s is not None:
            self.send_raw(packet.pack())
        self.sent.append(Stamped(at_s, packet, self._remote))
        self._sequence = (self._sequence + 1) % 2**16

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                datagram, source = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            except ConnectionError:  # ICMP says that the far end has closed: it may open again
                continue
            due_s = self._from_far.delivery_s(time.monotonic())
            if due_s is None:
                continue
            try:
                self.received.append(Stamped(due_s + self.hold_s, RtpPacket.parse(datagram), source))
            except MalformedPacket:
                self.malformed += 1
