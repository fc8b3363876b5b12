"""Two gateways in two processes call each other over SIP and RTP on loopback."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any, Self

import numpy as np
import pytest

from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ, TICKS_PER_FRAME, EndpointEventKind
from telephony.errors import AddressTaken, BadUri, CallEnded, TelephonyError
from telephony.gate_settings import GateSettings
from telephony.settings import SipSettings
from telephony.sip import IncomingSipCall, SipEndpoint, SipGateway
from tests.signals import find_tone, tone
from tests.telephony.sip_peer import TONE_HZ

pytestmark = pytest.mark.loopback

ANSWER_HZ = 750.0
SOUND = tone(ANSWER_HZ, FRAME_SAMPLES / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 0.3)  # 60 whole periods


class PeerProcess:
    """`tests.telephony.sip_peer` while open."""

    def __init__(self, codec: str = "PCMU", rtp_port: int = 31_000) -> None:
        self._arguments = (codec, str(rtp_port))

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.telephony.sip_peer",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self.hears("port")
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(10):
            assert await self._process.wait() == 0

    def tell(self, command: str) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")

    async def hears(self, key: str, value: Any = None) -> dict[str, Any]:
        """Its next line that has this key, and this value if one is given."""
        assert self._process.stdout is not None
        async with asyncio.timeout(15):
            while line := await self._process.stdout.readline():
                try:
                    found: dict[str, Any] = json.loads(line)
                except ValueError:
                    continue  # PJSIP's own lines, before its log is configured
                if key in found and value in (None, found[key]):
                    return found
        raise AssertionError(f"the peer ended before it said {key}")


@pytest.fixture
async def gateway() -> AsyncIterator[SipGateway]:
    settings = SipSettings(
        port=0,
        max_calls=4,
        rtp_port_min=30_000,
        rtp_port_max=30_099,
        retry_after_s=7,
        gate=GateSettings(rtp_port_rest_s=0),  # many short calls share few ports
    )
    async with SipGateway(settings) as gateway:
        yield gateway
        await until(lambda: gateway.counts().ports_free == 4)


async def until(is_so: Any) -> None:
    """Wait for a condition of another thread."""
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110  # the other thread knows no asyncio.Event
            await asyncio.sleep(0.01)


async def invited(gateway: SipGateway) -> IncomingSipCall:
    """The next INVITE."""
    async with asyncio.timeout(10):
        async for invite in gateway.incoming():
            return invite
    raise AssertionError("the gateway stopped")


async def next_event(endpoint: SipEndpoint, kind: EndpointEventKind) -> Any:
    """The call's next event of this kind."""
    async with asyncio.timeout(10):
        async for event in endpoint.events():
            if event.kind is kind:
                return event
    raise AssertionError(f"the call ended before {kind}")


async def listen(endpoint: SipEndpoint, frames: int, sound: Any = SOUND) -> np.ndarray[Any, Any]:
    """Answer frames with sound; what was heard, float32 [frames * 1920]."""
    heard = []
    async for frame in endpoint.frames():
        endpoint.send(sound)
        heard.append(frame)
        if len(heard) == frames:
            break
    return np.concatenate(heard)


def uri(gateway: SipGateway, transport: str = "udp") -> str:
    port = gateway.udp_port if transport == "udp" else gateway.tcp_port
    return f"sip:order@127.0.0.1:{port};transport={transport}"


@pytest.mark.parametrize(("codec", "transport"), [("PCMU", "udp"), ("PCMA", "tcp"), ("G722", "udp")])
async def test_tones_pass_both_ways_and_the_call_ends_cleanly(
    gateway: SipGateway, codec: str, transport: str
) -> None:
    async with PeerProcess(codec) as peer:
        peer.tell(f"call {uri(gateway, transport)}")
        invite = await invited(gateway)
        assert "order" in invite.called
        assert not {"user-agent", "server"} & invite.headers.keys(), "scanners look for names and versions"
        assert invite.source == "127.0.0.1"
        endpoint = await invite.answer()
        peer.tell("tone 1.6")
        heard = await listen(endpoint, 24)
        assert find_tone(heard[-FRAME_SAMPLES * 8 :], SAMPLE_RATE_HZ) == pytest.approx(TONE_HZ, abs=2)
        assert np.sqrt(np.mean(heard[-FRAME_SAMPLES * 8 :] ** 2)) == pytest.approx(0.3 / 2**0.5, rel=0.15)
        said = await peer.hears("hz")
        assert said["hz"] == pytest.approx(ANSWER_HZ, abs=2)
        assert said["rms"] == pytest.approx(0.3 / 2**0.5, rel=0.2)
        peer.tell("hangup")
        ended = await next_event(endpoint, EndpointEventKind.ENDED)
        assert (ended.code, ended.is_ours) == (200, False)
        stats = endpoint.stats()
        assert stats.codec.startswith(codec)
        assert stats.rx_packets > 70 and stats.tx_packets > 70
        assert (stats.rx_lost, stats.foreign_packets, stats.frames_dropped) == (0, 0, 0)


async def test_frames_keep_their_place_on_the_shared_clock(gateway: SipGateway) -> None:
    async with PeerProcess() as peer:
        peer.tell(f"call {uri(gateway)}")
        endpoint = await (await invited(gateway)).answer()
        endpoint.set_frame_phase(3)
        ticks, times, played = [], [], []
        async for _ in endpoint.frames():
            latest = endpoint.latest
            assert latest is not None
            ticks.append(latest.tick)
            times.append(latest.at_s)
            played.append(latest.played)
            endpoint.send(SOUND)
            if len(ticks) == 10:
                break
        assert {tick % TICKS_PER_FRAME for tick in ticks} == {3}
        assert ticks[-1] - ticks[0] == 9 * TICKS_PER_FRAME
        assert times[-1] - times[0] == pytest.approx(9 * 0.08, abs=0.02)
        assert find_tone(np.concatenate(played[5:]), SAMPLE_RATE_HZ) == pytest.approx(ANSWER_HZ, abs=2)
        assert gateway.tick >= ticks[-1]
        endpoint.hang_up()
        ended = await next_event(endpoint, EndpointEventKind.ENDED)
        assert ended.is_ours
        assert (await peer.hears("event", "ended"))["is_ours"] is False
        with pytest.raises(CallEnded):
            endpoint.send_dtmf("1")


async def test_barge_in_drops_what_is_queued_and_late_sound_is_counted(gateway: SipGateway) -> None:
    async with PeerProcess() as peer:
        peer.tell(f"call {uri(gateway)}")
        endpoint = await (await invited(gateway)).answer()
        endpoint.send(SOUND)
        endpoint.send(SOUND)  # 160 ms at a bound of 120
        assert 0 < endpoint.queued_samples <= FRAME_SAMPLES * 3 // 2
        assert endpoint.flush() > 0
        assert endpoint.queued_samples == 0
        await listen(endpoint, 3, np.zeros(FRAME_SAMPLES, np.float32))
        stats = endpoint.stats()
        assert stats.playout_late_samples >= FRAME_SAMPLES // 2 - 480
        assert stats.playout_underruns == 0, "silence is not an underrun, nor is what was flushed"
        endpoint.send(SOUND)
        await listen(endpoint, 3, np.zeros(0, np.float32))
        assert endpoint.stats().playout_underruns == 1
        endpoint.hang_up()
        await peer.hears("event", "ended")


async def test_digits_pass_both_ways(gateway: SipGateway) -> None:
    async with PeerProcess() as peer:
        peer.tell(f"call {uri(gateway)}")
        endpoint = await (await invited(gateway)).answer()
        with pytest.raises(TelephonyError, match="DTMF is"):
            endpoint.send_dtmf("12x")
        await listen(endpoint, 2)
        peer.tell("press 19*")
        async with asyncio.timeout(10):
            digits = [(await next_event(endpoint, EndpointEventKind.DTMF)).digit for _ in range(3)]
        assert digits == ["1", "9", "*"]
        endpoint.send_dtmf("#0")
        assert [(await peer.hears("event", "dtmf"))["digit"] for _ in range(2)] == ["#", "0"]
        endpoint.hang_up()
        await peer.hears("event", "ended")


async def test_hold_is_silence_in_both_directions_and_resume_brings_the_sound_back(
    gateway: SipGateway,
) -> None:
    async with PeerProcess() as peer:
        peer.tell(f"call {uri(gateway)}")
        endpoint = await (await invited(gateway)).answer()
        await listen(endpoint, 6)
        peer.tell("hold")
        await next_event(endpoint, EndpointEventKind.HELD)
        held = (await listen(endpoint, 8))[-2 * FRAME_SAMPLES :]
        assert not held.any(), "frames go on, as digital silence"
        assert endpoint.latest is not None and not endpoint.latest.played.any()
        peer.tell("resume")
        await next_event(endpoint, EndpointEventKind.RESUMED)
        heard = (await listen(endpoint, 12))[-4 * FRAME_SAMPLES :]
        assert find_tone(heard, SAMPLE_RATE_HZ) == pytest.approx(TONE_HZ, abs=3)
        peer.tell("hangup")
        await next_event(endpoint, EndpointEventKind.ENDED)


async def test_a_transfer_tells_its_outcome(gateway: SipGateway) -> None:
    async with PeerProcess() as peer:
        peer.tell(f"call {uri(gateway)}")
        endpoint = await (await invited(gateway)).answer()
        with pytest.raises(BadUri):
            endpoint.refer("tel:112\r\nX: y")
        peer.tell("follow")
        await listen(endpoint, 2)
        endpoint.refer(uri(gateway))
        second = await (await invited(gateway)).answer()
        async with asyncio.timeout(10):
            while (await next_event(endpoint, EndpointEventKind.TRANSFER)).code != 200:
                pass
        for call in (endpoint, second):
            call.hang_up()
            await next_event(call, EndpointEventKind.ENDED)


async def test_a_call_that_is_given_up_at_once_is_taken_back() -> None:
    async with SipGateway(SipSettings(port=0, max_calls=16, outbound_enabled=True)) as gateway:
        for num_turns in (1, 2, 5):
            calling = asyncio.create_task(gateway.call(uri(gateway)))  # itself, which does not answer
            for _ in range(num_turns):
                await asyncio.sleep(0)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
        async with asyncio.timeout(15):
            while gateway._endpoints or gateway.counts().calls:  # noqa: ASYNC110 - no one event tells it
                await asyncio.sleep(0.02)


async def test_two_calls_that_are_joined_hear_each_other_and_no_longer_us(gateway: SipGateway) -> None:
    async with PeerProcess() as one, PeerProcess() as other:
        ends = []
        for peer in (one, other):
            peer.tell(f"call {uri(gateway)}")
            ends.append(await (await invited(gateway)).answer())
        one.tell("tone 0.4")
        assert (await one.hears("hz"))["rms"] < 0.01  # we say nothing
        await gateway.join(*ends)
        await listen(ends[0], 4)
        for peer in (one, other):
            peer.tell("tone 0.6")
            heard = await peer.hears("hz")
            assert heard["hz"] == pytest.approx(TONE_HZ, abs=3) and heard["rms"] > 0.05
        assert not (await listen(ends[0], 12))[-2 * FRAME_SAMPLES :].any()
        one.tell("hold")  # and back: their streams are new ones
        await next_event(ends[0], EndpointEventKind.HELD)
        one.tell("resume")
        await next_event(ends[0], EndpointEventKind.RESUMED)
        await listen(ends[0], 4)
        other.tell("tone 0.6")
        assert (await other.hears("hz"))["hz"] == pytest.approx(TONE_HZ, abs=3)
        one.tell("hangup")
        await next_event(ends[0], EndpointEventKind.ENDED)
        with pytest.raises(CallEnded):
            await gateway.join(*ends)
        ends[1].hang_up()
        await next_event(ends[1], EndpointEventKind.ENDED)


async def test_a_refused_transfer_is_told_too(gateway: SipGateway) -> None:
    async with PeerProcess() as peer:
        peer.tell(f"call {uri(gateway)}")
        endpoint = await (await invited(gateway)).answer()
        endpoint.refer("sip:nobody@127.0.0.1:9")
        assert (await next_event(endpoint, EndpointEventKind.TRANSFER)).code == 403
        endpoint.hang_up()
        await peer.hears("event", "ended")


async def test_a_full_gateway_says_when_to_come_back(gateway: SipGateway) -> None:
    async with PeerProcess() as peer:
        peer.tell(f"call {uri(gateway)}")
        invite = await invited(gateway)
        with pytest.raises(TelephonyError, match="refuses nothing"):
            invite.reject(200)
        invite.reject(503, headers={"Retry-After": "7"})
        refused = await peer.hears("refused")
        assert (refused["refused"], refused["retry_after_s"]) == (503, 7)
        with pytest.raises(CallEnded):
            await invite.answer()
        peer.tell(f"call {uri(gateway)}")
        (await invited(gateway)).reject(486)
        assert (await peer.hears("refused"))["refused"] == 486


async def test_a_caller_who_gives_up_is_gone(gateway: SipGateway) -> None:
    async with PeerProcess() as peer:
        peer.tell(f"cancel {uri(gateway)}")
        invite = await invited(gateway)
        invite.ring()
        await peer.hears("cancelled")
        await until(lambda: invite.is_gone)
        with pytest.raises(CallEnded):
            await invite.answer()


async def test_many_short_calls_leave_nothing_behind(gateway: SipGateway) -> None:
    async def answer_all() -> None:
        async for invite in gateway.incoming():
            with contextlib.suppress(CallEnded):  # answered and over within one turn of the event loop
                await next_event(await invite.answer(), EndpointEventKind.ENDED)

    answering = asyncio.create_task(answer_all())
    async with PeerProcess() as peer:
        peer.tell(f"many {uri(gateway)} 10")
        await peer.hears("done")
        await until(lambda: gateway.counts().calls == 0)
        before = len(os.listdir("/proc/self/fd"))
        peer.tell("count")
        theirs = await peer.hears("fds")
        peer.tell(f"many {uri(gateway)} 90")
        await peer.hears("done")
        await until(lambda: gateway.counts().calls == 0)
        assert len(os.listdir("/proc/self/fd")) == before
        peer.tell("count")
        assert (await peer.hears("fds"))["fds"] == theirs["fds"]
    answering.cancel()


def options(gateway: SipGateway, sender: socket.socket) -> str:
    """The answer to an OPTIONS probe."""
    port = sender.getsockname()[1]
    sender.sendto(
        (
            f"OPTIONS {uri(gateway)} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{os.urandom(4).hex()}\r\n"
            "Max-Forwards: 70\r\nFrom: <sip:probe@127.0.0.1>;tag=1\r\nTo: <sip:order@127.0.0.1>\r\n"
            f"Call-ID: {os.urandom(4).hex()}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        ).encode(),
        ("127.0.0.1", gateway.udp_port),
    )
    return sender.recv(4096).decode()


async def test_probes_learn_whether_a_line_is_free_and_garbage_is_counted(gateway: SipGateway) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        sender.settimeout(5)
        assert (await asyncio.to_thread(options, gateway, sender)).startswith("SIP/2.0 200")
        gateway.set_full(True)
        full = await asyncio.to_thread(options, gateway, sender)
        assert full.startswith("SIP/2.0 503")
        assert "Retry-After: 7" in full
        gateway.set_full(False)
        for garbage in (os.urandom(400), b"INVITE sip:x@h SIP/2.0\r\nFrom: <sip:a@b>\r\n\r\n", b"\x00" * 100):
            sender.sendto(garbage, ("127.0.0.1", gateway.udp_port))
        await until(lambda: gateway.counts().malformed_messages >= 3)
        assert (await asyncio.to_thread(options, gateway, sender)).startswith("SIP/2.0 200")


async def test_peers_that_are_not_listed_get_no_answer() -> None:
    settings = SipSettings(
        port=0, max_calls=2, rtp_port_min=30_000, rtp_port_max=30_099, allowed_peers=("192.0.2.0/24",)
    )
    async with SipGateway(settings) as gateway:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            sender.settimeout(0.3)
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(options, gateway, sender)
        assert gateway.counts().foreign_messages == 1


async def test_rtp_from_a_foreign_source_is_dropped_and_counted(gateway: SipGateway) -> None:
    async with PeerProcess() as peer:
        peer.tell(f"call {uri(gateway)}")
        endpoint = await (await invited(gateway)).answer()
        await listen(endpoint, 4)
        loud = b"\x80\x00" + bytes(10) + bytes([0x00] * 160)  # PCMU's loudest sample
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
            for port in range(30_000, 30_100, 2):
                for _ in range(30):
                    attacker.sendto(loud, ("127.0.0.1", port))
        heard = (await listen(endpoint, 20))[-4 * FRAME_SAMPLES :]
        assert find_tone(heard, SAMPLE_RATE_HZ) == pytest.approx(TONE_HZ, abs=3)
        assert endpoint.stats().foreign_packets == 30
        peer.tell("hangup")
        await next_event(endpoint, EndpointEventKind.ENDED)


async def test_a_taken_port_is_named(gateway: SipGateway) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        await gateway.stop()
        with pytest.raises(AddressTaken, match=str(port)):
            await SipGateway(SipSettings(port=port, max_calls=2)).start()


async def test_placing_calls_is_off_unless_allowed(gateway: SipGateway) -> None:
    with pytest.raises(TelephonyError, match="outbound_enabled"):
        await gateway.call("sip:x@127.0.0.1")
