"""Calls whose packets Python carries: Opus packets in and out of a native port that ticks with all others.

The clock thread, which never enters Python, moves packets through PJMEDIA's jitter buffer and libopus. A
pool's ports are made on the sip thread; from then on asyncio lends and takes back.
"""

from collections import deque
from dataclasses import dataclass

import offhook_pjsua2 as pj

from telephony.sip_media import AudioPool, CallAudio

RTP_CLOCK_HZ = 48_000  # of Opus, whatever it codes (RFC 7587 section 4.1)
RTP_PER_TICK = 960


@dataclass(frozen=True, slots=True)
class PacketCounts:
    """What became of a call's packets so far."""

    late: int = 0  # arrived too late, twice, or on a full buffer
    malformed: int = 0  # no Opus
    concealed: int = 0  # frames that the decoder made up
    repaired: int = 0  # of these, by the redundancy in the packet after
    refused: int = 0  # more between two ticks than the ring holds
    unsent: int = 0  # of ours, because asyncio was late for 320 ms
    delay_us: int = 0  # of the jitter buffer, smoothed


class PacketAudio(CallAudio):
    """One call's rings, and its Opus packets."""

    port: pj.OpusPort

    def put(self, rtp_timestamp: int, payload: bytes) -> bool:
        """Hand over one packet as it arrives; False if it was refused (and counted)."""
        return bool(self.port.putPacket(rtp_timestamp & 0xFFFFFFFF, payload))

    def take(self) -> tuple[int, bytes] | None:
        """The oldest packet to send and the tick it belongs to; None while there is none."""
        taken: tuple[int, bytes] | None = self.port.takePacket()
        return taken

    def expect_loss(self, percent: int) -> None:
        """Let our packets carry as much redundancy as this loss on the way to the far end asks for."""
        self.port.expectLoss(percent)

    def packet_counts(self) -> PacketCounts:
        """The counters since the port was lent."""
        return PacketCounts(*self.port.packetCounters())


class PacketPool:
    """Every native Opus port there will ever be; lent in turn, for the reasons that `AudioPool` gives."""

    def __init__(self, size: int) -> None:
        self._all: list[pj.OpusPort] = []
        for number in range(size):
            port = pj.OpusPort()
            port.open(f"offhook-opus-{number}")
            self._all.append(port)
        self._free: deque[pj.OpusPort] = deque(self._all)

    @property
    def num_free(self) -> int:
        """Ports that wait for a call."""
        return len(self._free)

    def lend(self) -> PacketAudio | None:
        """Audio for a new call, silent until its port is started; None when every port is lent."""
        if not self._free:
            return None
        audio = PacketAudio(self._free.popleft())
        audio.set_bound(AudioPool.DEFAULT_BOUND_SAMPLES)
        return audio

    def give_back(self, audio: PacketAudio) -> None:
        """Take back what `lend` gave; the caller must not touch it again."""
        assert audio.port not in self._free
        audio.port.stop()
        self._free.append(audio.port)
