"""Many telephone calls at once for little CPU: real signalling, one thread and one socket for all sound."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Self

import numpy as np

from agent.bench_gateway import HOST, GatewayProcess
from agent.bench_rtp import RtpPacket, encode
from agent.bench_sip import SipPeer, sdp

RATE_HZ = 8_000
PACKET_SAMPLES = 160
PACKET_S = PACKET_SAMPLES / RATE_HZ
LOOP_S = 8.0  # of the sound that all callers make, each from another place in it
WRAP = 1 << 16


class Chorus:
    """`num_calls` calls that talk in turns for as long as this is open; nobody listens to the agent."""

    def __init__(self, gateway: GatewayProcess, num_calls: int) -> None:
        self._gateway, self._num_calls = gateway, num_calls
        self._peers: list[SipPeer] = []
        self._ports: list[int] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sing, name="chorus", daemon=True)

    def __enter__(self) -> Self:
        """Place the calls. Raises CallRefused, TelephonyError."""
        self._socket.bind((HOST, 0))
        self._thread.start()  # already now, because silent callers are hung up
        try:
            for number in range(self._num_calls):
                peer = SipPeer(self._gateway.address, caller=f"+1555{number:06}")
                self._peers.append(peer)
                self._ports.append(peer.call(sdp(self._socket.getsockname()[1])).media_port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        for peer in self._peers:
            peer.send("BYE")
        for peer in self._peers:
            with contextlib.suppress(Exception):  # the gateway may be gone
                peer.response("BYE", 5.0)
        self._close()

    def _close(self) -> None:
        for peer in self._peers:
            peer.close()
        self._socket.close()

    def _sing(self) -> None:
        """One packet to each call every 20 ms."""
        payloads = _payloads()
        offsets = [number * 37 % len(payloads) for number in range(self._num_calls)]
        began_s, index = time.monotonic(), 0
        while not self._stop.wait(max(0.0, began_s + index * PACKET_S - time.monotonic())):
            for number, port in enumerate(list(self._ports)):  # grows meanwhile
                payload = payloads[(index + offsets[number]) % len(payloads)]
                packet = RtpPacket(0, index % WRAP, index * PACKET_SAMPLES, 1000 + number, payload)
                self._socket.sendto(packet.pack(), (HOST, port))
            index += 1


def _payloads() -> list[bytes]:
    """A turn of two seconds with syllables, then silence, as PCMU packets."""
    at = np.arange(int(LOOP_S * RATE_HZ)) / RATE_HZ
    syllables = np.clip(np.sin(2 * np.pi * 3 * at), 0, 1) * (at < 2.0)
    pcm = (0.3 * syllables * np.sin(2 * np.pi * 220 * at)).astype(np.float32)
    raw = encode(pcm, "PCMU")
    return [raw[start : start + PACKET_SAMPLES] for start in range(0, len(raw), PACKET_SAMPLES)]
