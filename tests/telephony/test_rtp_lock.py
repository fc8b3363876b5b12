"""Forged RTP against live calls: nothing of it may be heard."""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np
import pytest

from agent.bench_rtp import PACKET_SAMPLES, RtpEnd, RtpPacket, encode
from agent.bench_sip import SipPeer, sdp
from telephony.audio import Pcm
from telephony.endpoint import SAMPLE_RATE_HZ
from telephony.settings import SipSettings
from telephony.sip import SipEndpoint, SipGateway
from tests.signals import tone

pytestmark = pytest.mark.loopback

CALLER_HZ, FORGER_HZ = 500.0, 1_300.0
LINE_HZ = 8_000
PEERS_OTHER_HOST = "127.0.0.5"
LOUD = encode(tone(FORGER_HZ, 0.02, LINE_HZ, 0.9), "PCMU")  # 26 whole periods


@pytest.fixture
async def gateway() -> AsyncIterator[SipGateway]:
    settings = SipSettings(
        port=0,
        max_calls=2,
        rtp_port_min=33_300,
        rtp_port_max=33_399,
        allowed_peers=("127.0.0.1/32", PEERS_OTHER_HOST + "/32"),
    )
    async with SipGateway(settings) as gateway:
        yield gateway


@dataclass(slots=True)
class Call:
    """A call that is up: both ends of it, and where our RTP port is."""

    peer: SipPeer
    endpoint: SipEndpoint
    port: int


@contextlib.asynccontextmanager
async def call(gateway: SipGateway, offer: str) -> AsyncIterator[Call]:
    """A caller with this offer, until both have hung up."""
    with SipPeer(("127.0.0.1", gateway.udp_port)) as peer:
        async with asyncio.timeout(15):
            calling = asyncio.create_task(asyncio.to_thread(peer.call, offer))
            endpoint = await (await anext(gateway.incoming())).answer()
            answer = await calling
        yield Call(peer, endpoint, answer.media_port)
        await asyncio.to_thread(peer.hang_up)


class Forger:
    """A source that sends loud packets, in order, of one SSRC."""

    def __init__(self, address: str, port: int, ssrc: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.target, self.ssrc, self.number = ("127.0.0.1", port), ssrc, 0

    def packet(self) -> bytes:
        """Its next packet."""
        self.number += 1
        return RtpPacket(0, self.number, self.number * PACKET_SAMPLES, self.ssrc, LOUD).pack()

    def send(self) -> None:
        """Send it."""
        self.socket.sendto(self.packet(), self.target)

    def close(self) -> None:
        """Free the port."""
        self.socket.close()


async def heard(endpoint: SipEndpoint, frames: int, each: Callable[[], None] = lambda: None) -> Pcm:
    """So many of the caller's frames, float32 [frames * 1920]; `each` is run before every one."""
    pcm = []
    async with asyncio.timeout(20):
        each()
        async for frame in endpoint.frames():
            pcm.append(frame)
            if len(pcm) == frames:
                break
            each()
    return np.concatenate(pcm)


def level(pcm: Pcm, hz: float) -> float:
    """The largest amplitude of this tone in any 80 ms."""
    wave = np.exp(-2j * np.pi * hz / SAMPLE_RATE_HZ * np.arange(1920)) * np.hanning(1920) * 4 / 1920
    return float(np.max(np.abs(pcm.reshape(-1, 1920) @ wave)))


async def test_no_forged_packet_is_heard_from_a_wrong_source_with_the_right_or_a_wrong_ssrc(
    gateway: SipGateway,
) -> None:
    end = RtpEnd()
    async with call(gateway, sdp(end.port, "PCMU")) as live:
        forgers = [Forger("127.0.0.9", live.port, ssrc) for ssrc in (end.ssrc, 0xBAD)]
        forgers.append(Forger("127.0.0.1", live.port, end.ssrc))  # the caller's host, from the lock on

        def forge() -> None:
            for forger in forgers[: 2 if not end.sent else 3]:
                for _ in range(4):
                    forger.send()

        before = await heard(live.endpoint, 6, forge)
        assert np.max(np.abs(before)) < 0.01, "nobody is heard before the caller speaks"
        end.start(("127.0.0.1", live.port))
        end.play(tone(CALLER_HZ, 3.0, LINE_HZ, 0.3))
        during = await heard(live.endpoint, 25, forge)
        assert level(during[-1920 * 12 :], CALLER_HZ) > 0.2
        assert level(during, FORGER_HZ) < 0.01
        num_forged = sum(forger.number for forger in forgers)
        assert gateway.counts().gate.foreign_rtp_packets == num_forged
        assert end.received, "our own sound went to the caller throughout"
    end.close()
    for forger in forgers:
        forger.close()


async def test_a_forged_ssrc_from_the_callers_own_address_is_not_heard(gateway: SipGateway) -> None:
    end = RtpEnd()
    async with call(gateway, sdp(end.port, "PCMU")) as live:
        forger = Forger("127.0.0.9", live.port, 0xBAD)
        end.start(("127.0.0.1", live.port))
        end.play(tone(CALLER_HZ, 3.0, LINE_HZ, 0.3))
        await heard(live.endpoint, 4)

        def forge() -> None:  # from the caller's socket: what a forged IP header would do
            for _ in range(4):
                end.send_raw(forger.packet())

        during = await heard(live.endpoint, 20, forge)
        assert level(during, CALLER_HZ) > 0.2
        assert level(during, FORGER_HZ) < 0.01
        assert gateway.counts().gate.foreign_rtp_packets == forger.number
    end.close()
    forger.close()


async def test_a_sweep_of_the_ports_before_the_caller_speaks_takes_no_call(gateway: SipGateway) -> None:
    end = RtpEnd()
    async with call(gateway, sdp(end.port, "PCMU")) as live:
        sweepers = [Forger(address, live.port, 7) for address in ("127.0.0.9", "127.0.0.1")]
        for sweeper in sweepers:
            for port in (*range(33_300, 33_400), live.port, live.port, live.port):
                sweeper.socket.sendto(sweeper.packet(), ("127.0.0.1", port))
        assert np.max(np.abs(await heard(live.endpoint, 4))) < 0.01
        end.start(("127.0.0.1", live.port))
        end.play(tone(CALLER_HZ, 2.0, LINE_HZ, 0.3))
        assert level(await heard(live.endpoint, 10), CALLER_HZ) > 0.2
    end.close()
    for sweeper in sweepers:
        sweeper.close()


async def test_a_caller_behind_nat_is_learnt_from_where_sip_comes_from_and_answered_there(
    gateway: SipGateway,
) -> None:
    end = RtpEnd()
    async with call(gateway, sdp(40_000, "PCMU", address="10.9.9.9")) as live:
        end.start(("127.0.0.1", live.port))
        end.play(tone(CALLER_HZ, 3.0, LINE_HZ, 0.3))
        assert level(await heard(live.endpoint, 12), CALLER_HZ) > 0.2
        assert len(end.received) > 10, "what we send follows the caller"
    end.close()


async def test_a_caller_who_moves_by_reinvite_is_heard_at_the_new_place(gateway: SipGateway) -> None:
    old, new = RtpEnd(), RtpEnd()
    async with call(gateway, sdp(old.port, "PCMU")) as live:
        old.start(("127.0.0.1", live.port))
        await heard(live.endpoint, 4)
        live.peer.send("INVITE", body=sdp(new.port, "PCMU"))
        answer = await asyncio.to_thread(live.peer.response, "INVITE")
        live.peer.acknowledge(answer)
        moved = re.search(r"m=audio (\d+)", answer.body)
        assert answer.status == 200 and moved is not None
        new.start(("127.0.0.1", int(moved[1])))
        new.play(tone(CALLER_HZ, 3.0, LINE_HZ, 0.3))
        assert level((await heard(live.endpoint, 16))[-1920 * 6 :], CALLER_HZ) > 0.2
        assert len(new.received) > 10
    for end in (old, new):
        end.close()


async def test_a_peer_whose_media_has_another_host_is_heard_and_the_signalled_one_takes_over(
    gateway: SipGateway,
) -> None:
    signalled, other = RtpEnd(), RtpEnd(address=PEERS_OTHER_HOST)
    async with call(gateway, sdp(signalled.port, "PCMU")) as live:
        other.start(("127.0.0.1", live.port))
        other.play(tone(FORGER_HZ, 3.0, LINE_HZ, 0.3))
        assert level(await heard(live.endpoint, 10), FORGER_HZ) > 0.2
        signalled.start(("127.0.0.1", live.port))
        signalled.play(tone(CALLER_HZ, 3.0, LINE_HZ, 0.3))
        after = (await heard(live.endpoint, 20))[-1920 * 8 :]
        assert level(after, CALLER_HZ) > 0.2
        assert level(after, FORGER_HZ) < 0.01
    for end in (signalled, other):
        end.close()


async def test_reports_from_elsewhere_are_not_believed(gateway: SipGateway) -> None:
    end = RtpEnd()
    async with call(gateway, sdp(end.port, "PCMU")) as live:
        forger = Forger("127.0.0.9", live.port + 1, 1)
        end.start(("127.0.0.1", live.port))
        await heard(live.endpoint, 4)
        ours = end.received[-1].packet

        def report(lost: int) -> bytes:
            """A receiver report (RFC 3550 section 6.4.2) of one block."""
            block = struct.pack("!IIIIII", ours.ssrc, lost, ours.sequence, 0, 0, 0)
            return struct.pack("!BBHI", 0x81, 201, 7, end.ssrc) + block

        forger.socket.sendto(report(77), forger.target)
        await heard(live.endpoint, 14)  # figures are read once a second
        assert live.endpoint.stats().tx_lost == 0
        end._socket.sendto(report(5), forger.target)
        await heard(live.endpoint, 14)
        assert live.endpoint.stats().tx_lost == 5
    end.close()
    forger.close()
