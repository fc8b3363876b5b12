"""What really went over the wire: each RTP packet of one interface, seen by the kernel and by neither end.

The test runs `python -m tests.loopback.tap INTERFACE` as root.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Self

from agent.bench_rtp import RtpPacket, in_order
from telephony.errors import MalformedPacket
from tests.loopback.privilege import as_root
from tests.signals import Pcm

ETH_P_IP = 0x0800
PACKET_HOST = 0  # on lo each packet is seen twice: leaving, and arriving as this
HEADER = struct.Struct("!dHHH")  # seconds, source port, destination port, payload bytes


def watch(interface: str) -> None:
    """Write each UDP datagram that arrives to standard output until killed."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as raw:
        raw.bind((interface, ETH_P_IP))
        out = sys.stdout.buffer
        out.write(b"!")  # ready
        out.flush()
        while True:
            packet, origin = raw.recvfrom(4096)
            start = (packet[0] & 0x0F) * 4
            if packet[9] != socket.IPPROTO_UDP or (interface == "lo" and origin[2] != PACKET_HOST):
                continue
            source, destination, length = struct.unpack_from("!HHH", packet, start)
            payload = packet[start + 8 : start + length]
            out.write(HEADER.pack(time.monotonic(), source, destination, len(payload)) + payload)
            out.flush()


@dataclass(frozen=True, slots=True)
class Seen:
    """One RTP packet on the wire."""

    at_s: float
    source: int
    destination: int
    packet: RtpPacket


class Tap:
    """Watches one interface while open; keeps the RTP packets between even ports from 10,000 up."""

    def __init__(self, interface: str = "lo") -> None:
        self.seen: list[Seen] = []
        self._command = as_root([sys.executable, "-m", "tests.loopback.tap", interface])

    def __enter__(self) -> Self:
        self._watcher = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self._watcher.stdout is not None
        assert self._watcher.stdout.read(1) == b"!", "the packet watcher did not start"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._watcher.terminate()
        self._watcher.wait()
        self._reader.join()
        assert self._watcher.stdout is not None
        self._watcher.stdout.close()

    def heard_from(self, source: int, codec: str) -> Pcm:
        """float32 [T] at 8 kHz of all G.711 that left this port; gaps are silence."""
        return in_order([item.packet for item in self.seen if item.source == source], codec)

    def heard_at(self, destination: int, codec: str) -> Pcm:
        """float32 [T] at 8 kHz of all G.711 that went to this port; gaps are silence."""
        return in_order([item.packet for item in self.seen if item.destination == destination], codec)

    def _read(self) -> None:
        assert self._watcher.stdout is not None
        pipe = self._watcher.stdout
        while len(header := pipe.read(HEADER.size)) == HEADER.size:
            at_s, source, destination, length = HEADER.unpack(header)
            payload = pipe.read(length)
            if source % 2 or destination % 2 or min(source, destination) < 10_000:
                continue
            try:
                self.seen.append(Seen(at_s, source, destination, RtpPacket.parse(payload)))
            except MalformedPacket:
                continue


if __name__ == "__main__":
    watch(sys.argv[1])
