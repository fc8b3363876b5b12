"""What strangers and scanners send, at a pace; each attack runs in a process of its own."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.bench_gateway import HOST
from agent.bench_rtp import RtpPacket
from agent.fuzzing import Fuzzer
from agent.torture import CASES, Place, request

STRANGER = "127.9.9.9"  # on no list
HELD_CONNECTIONS = 200
SLICE_S = 0.01
FORGED = "forged RTP"
FUZZ = ("fuzz", "more fuzz")  # halves, of different seeds


@dataclass(frozen=True, slots=True)
class Target:
    """What an attack aims at."""

    sip: tuple[str, int]
    tcp_port: int
    rtp: tuple[tuple[str, int], ...]  # the gateway's port of each call


@dataclass(frozen=True, slots=True)
class Attack:
    """What one attack is to do."""

    name: str
    send: Callable[[Target, int, float, int], None]  # target, packets, packets a second, seed
    num_packets: int
    rate_per_s: float


def paced(num_packets: int, rate_per_s: float) -> Iterator[int]:
    """Numbers from 0 at this rate, in small bunches."""
    bunch, began_s = max(1, round(rate_per_s * SLICE_S)), time.monotonic()
    for number in range(num_packets):
        if number % bunch == 0:
            time.sleep(max(0.0, began_s + number / rate_per_s - time.monotonic()))
        yield number


def bound(address: str = HOST) -> socket.socket:
    """A UDP socket at any port of this address."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, 0))
    return udp


def send_torture(target: Target, num_packets: int, rate_per_s: float, seed: int) -> None:
    """RFC 4475's cases, over and over."""
    with bound() as udp:
        place = Place.between(udp.getsockname(), target.sip)
        for _, case in zip(paced(num_packets, rate_per_s), itertools.cycle(CASES), strict=False):
            udp.sendto(case.build(place), target.sip)


def send_fuzz(target: Target, num_packets: int, rate_per_s: float, seed: int) -> None:
    """Broken SIP to the SIP port, and broken RTP and RTCP to every call's ports, in turn."""
    with bound() as udp:
        fuzzer = Fuzzer(seed, Place.between(udp.getsockname(), target.sip))
        ports = itertools.cycle(target.rtp)
        for number in paced(num_packets, rate_per_s):
            if number % 2 == 0:
                udp.sendto(fuzzer.sip(), target.sip)
            else:
                host, port = next(ports)
                is_rtp = number % 4 == 1
                udp.sendto(fuzzer.rtp() if is_rtp else fuzzer.rtcp(), (host, port if is_rtp else port + 1))


def send_strangers(target: Target, num_packets: int, rate_per_s: float, seed: int) -> None:
    """Whole INVITEs from an address that is on no list."""
    with bound(STRANGER) as udp:
        place = Place.between(udp.getsockname(), target.sip)
        for _ in paced(num_packets, rate_per_s):
            udp.sendto(request(place, "INVITE", body=place.offer), target.sip)


def send_forged(target: Target, num_packets: int, rate_per_s: float, seed: int) -> None:
    """Well-formed loud RTP for every call from another host and from the caller's."""
    loud = bytes([0x00, 0x80] * 80)
    with bound() as near, bound(STRANGER) as far:
        for number in paced(num_packets, rate_per_s):
            packet = RtpPacket(0, number % 65_536, number * 160 % 2**32, 7, loud).pack()
            (near if number % 2 else far).sendto(packet, target.rtp[number // 2 % len(target.rtp)])


def send_slow(target: Target, num_packets: int, rate_per_s: float, seed: int) -> None:
    """Connections that send a byte of a message now and then, or nothing, and are opened anew when ended."""
    streams: list[socket.socket] = []
    text = b"INVITE sip:order@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKslow\r\n"
    for number in paced(num_packets, rate_per_s):
        if len(streams) < HELD_CONNECTIONS:
            stream = socket.create_connection((target.sip[0], target.tcp_port), timeout=5)
            stream.setblocking(False)
            streams.append(stream)
            continue
        at = number % HELD_CONNECTIONS
        try:
            if at % 2:
                streams[at].send(text[number % len(text) :][:1])
            elif not streams[at].recv(1):
                raise ConnectionError
        except BlockingIOError:
            pass
        except OSError:
            streams.pop(at).close()
    for stream in streams:
        stream.close()


def attacks(num_packets: int, num_strangers: int, rate_per_s: float) -> list[Attack]:
    """All of them; the first is none, to compare with."""
    return [
        Attack("nothing", _send_nothing, 250, 50),
        Attack("RFC 4475", send_torture, 20 * len(CASES), 200),
        Attack("strangers", send_strangers, num_strangers, 500),
        Attack(FORGED, send_forged, num_strangers, 500),
        Attack("slow TCP", send_slow, 4 * HELD_CONNECTIONS, 50),
        *(Attack(name, send_fuzz, num_packets // 2, rate_per_s) for name in FUZZ),
    ]


def _send_nothing(target: Target, num_packets: int, rate_per_s: float, seed: int) -> None:
    for _ in paced(num_packets, rate_per_s):
        pass
