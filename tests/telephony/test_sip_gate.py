"""The gate before a running SIP endpoint: rates, bans, limits, connections, drain, and ports that rest."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from telephony import sip
from telephony.errors import CallRefused, TelephonyError
from telephony.gate_settings import GateSettings
from telephony.settings import SipSettings
from telephony.sip import SipGateway
from telephony.sip_gate import GateCounts, gate_networks
from telephony.trunks import Trunk

pytestmark = pytest.mark.loopback

OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
LIMITS = GateSettings(
    peer_requests_per_s=2,
    open_requests_per_s=1,
    strikes=3,
    ban_s=2,
    max_connections=6,
    max_connections_per_source=3,
    message_timeout_s=1,
    max_headers=40,
)
PEER, OPEN, STRANGER = "127.0.0.1", "127.0.1.1", "127.0.2.1"
QUIET_S = 0.25


@pytest.fixture
async def gateway() -> AsyncIterator[SipGateway]:
    settings = SipSettings(
        port=0,
        max_calls=2,
        rtp_port_min=33_000,
        rtp_port_max=33_099,
        retry_after_s=7,
        allowed_peers=("127.0.0.0/24",),
        open_peers=("127.0.1.0/24",),
        gate=LIMITS,
    )
    async with SipGateway(settings) as gateway:
        yield gateway


def request(
    method: str = "OPTIONS", headers: str = "", to_tag: str = "", body: str = "", call_id: str = ""
) -> bytes:
    """A request that nothing is wrong with."""
    tag = f";tag={to_tag}" if to_tag else ""
    return (
        f"{method} sip:order@127.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{os.urandom(8).hex()}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:probe@127.0.0.1>;tag=1\r\nTo: <sip:order@127.0.0.1>{tag}\r\n"
        f"Call-ID: {call_id or os.urandom(8).hex()}\r\nCSeq: 1 {method}\r\nContact: <sip:probe@127.0.0.1>\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Sender:
    """One UDP source."""

    def __init__(self, address: str, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.setblocking(False)
        self.target = ("127.0.0.1", port)

    def send(self, packet: bytes) -> None:
        """Send it."""
        self.socket.sendto(packet, self.target)

    async def answers(self, packet: bytes | None = None, seconds: float = QUIET_S) -> list[str]:
        """The first lines and headers of what comes back."""
        if packet is not None:
            self.send(packet)
        found = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    raw = await asyncio.get_running_loop().sock_recv(self.socket, 65_535)
                    found.append(raw.decode())
        return found


@pytest.fixture
def senders(gateway: SipGateway) -> Iterator[dict[str, Sender]]:
    """Sources of each kind, with addresses that no other test has used."""
    number = next(_numbers)
    addresses = {kind: f"{kind.rpartition('.')[0]}.{number}" for kind in (PEER, OPEN, STRANGER)}
    made = {kind: Sender(address, gateway.udp_port) for kind, address in addresses.items()}
    yield made
    for sender in made.values():
        sender.socket.close()


_numbers = iter(range(2, 250))


async def grown(gateway: SipGateway, before: GateCounts, name: str, by: int = 1) -> None:
    """Wait until a count has grown by so much."""
    async with asyncio.timeout(5):
        while getattr(gateway.counts().gate, name) < getattr(before, name) + by:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_strangers_and_open_sources_learn_nothing_from_probes(
    gateway: SipGateway, senders: dict[str, Sender]
) -> None:
    before = gateway.counts().gate
    probes = [request(), request("REGISTER"), request("MESSAGE"), b"\r\n\r\n", b"OPTIONS * SIP/2.0\r\n\r\n"]
    for probe in [*probes, request("INVITE"), request("BYE", to_tag="9"), request("CANCEL")]:
        senders[STRANGER].send(probe)
    for probe in (request("BYE", to_tag="forged"), request("CANCEL")):
        senders[OPEN].send(probe)
    assert await senders[STRANGER].answers() == []
    assert await senders[OPEN].answers() == []
    await grown(gateway, before, "foreign", 6)  # two are so short that PJSIP throws them away itself
    await grown(gateway, before, "unwanted", 2)
    answer = (await senders[PEER].answers(request()))[0]
    assert answer.startswith("SIP/2.0 200")
    assert not any(word in answer.lower() for word in ("server:", "user-agent:", "pjsip", "offhook"))
    watching = request("SUBSCRIBE", "Event: presence\r\nExpires: 3600\r\n")
    assert (await senders[PEER].answers(watching))[0].startswith("SIP/2.0 403 Forbidden")


async def test_a_scanner_in_an_open_network_is_banned_and_comes_back_after_it(
    gateway: SipGateway, senders: dict[str, Sender]
) -> None:
    before, scanner = gateway.counts().gate, senders[OPEN]
    for _ in range(LIMITS.strikes):
        scanner.send(request("REGISTER"))
    await grown(gateway, before, "bans")
    scanner.send(request("INVITE"))
    await grown(gateway, before, "banned")
    with socket.socket() as stream:
        stream.bind((scanner.socket.getsockname()[0], 0))
        stream.settimeout(3)
        stream.connect(("127.0.0.1", gateway.tcp_port))
        with contextlib.suppress(ConnectionResetError):
            assert stream.recv(1) == b"", "a banned source keeps no connection"
    await asyncio.sleep(LIMITS.ban_s)
    answers = await scanner.answers(request("INVITE"), 1.0)
    assert answers and answers[0].startswith("SIP/2.0 "), "the ban is over, and a call may be tried"


async def test_a_peer_is_never_banned_since_its_address_can_be_forged(
    gateway: SipGateway, senders: dict[str, Sender]
) -> None:
    before, peer = gateway.counts().gate, senders[PEER]
    for _ in range(4 * LIMITS.strikes):
        peer.send(b"INVITE rubbish SIP/2.0\r\nFrom: <<<\r\n\r\n")
    await grown(gateway, before, "malformed", 4 * LIMITS.strikes)
    assert (await peer.answers(request()))[0].startswith("SIP/2.0 200")
    assert gateway.counts().gate.bans == before.bans


async def test_a_peer_over_its_rate_is_told_to_come_back_and_then_nothing(
    gateway: SipGateway, senders: dict[str, Sender]
) -> None:
    before, peer = gateway.counts().gate, senders[PEER]
    burst = round(5 * LIMITS.peer_requests_per_s)
    for _ in range(5 * burst):
        peer.send(request())
    await grown(gateway, before, "rate_limited", 4 * burst - 4)
    answers = await peer.answers(seconds=1.0)
    refusals = [answer for answer in answers if answer.startswith("SIP/2.0 503")]
    assert all("Retry-After: " in refusal for refusal in refusals)
    assert burst <= len(refusals) <= burst + 6
    assert burst <= sum(answer.startswith("SIP/2.0 200") for answer in answers) <= burst + 6


async def test_too_many_headers_and_too_long_messages_are_dropped(
    gateway: SipGateway, senders: dict[str, Sender]
) -> None:
    before, peer = gateway.counts().gate, senders[PEER]
    within = "X-Fill: 1\r\n" * (LIMITS.max_headers - 12)
    assert (await peer.answers(request(headers=within)))[0].startswith("SIP/2.0 200")
    assert await peer.answers(request(headers="X: 1\r\n" * (LIMITS.max_headers + 1))) == []
    assert await peer.answers(request(headers="X-Fill: " + "x" * 9000 + "\r\n")) == []
    await grown(gateway, before, "oversize", 2)


async def test_a_connection_with_a_message_without_end_is_ended_and_its_neighbour_is_not(
    gateway: SipGateway,
) -> None:
    before, target = gateway.counts().gate, ("127.0.0.1", gateway.tcp_port)
    with socket.create_connection(target) as endless, socket.create_connection(target) as working:
        endless.settimeout(5)
        with contextlib.suppress(ConnectionError):
            endless.sendall(request()[:-4] + b"X-Fill: " + b"x" * 9000)
            assert await asyncio.to_thread(endless.recv, 1) == b""
        await grown(gateway, before, "oversize")
        working.settimeout(5)
        working.sendall(request())
        assert (await asyncio.to_thread(working.recv, 4096)).startswith(b"SIP/2.0 200")


async def test_a_source_has_so_many_connections_and_no_more(gateway: SipGateway) -> None:
    before = gateway.counts().gate
    with contextlib.ExitStack() as stack:
        streams = []
        for _ in range(LIMITS.max_connections_per_source + 2):
            stream = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.tcp_port)))
            stream.settimeout(3)
            streams.append(stream)
        await grown(gateway, before, "connections_refused", 2)
        streams[0].sendall(request())
        assert (await asyncio.to_thread(streams[0].recv, 4096)).startswith(b"SIP/2.0 200")
    async with asyncio.timeout(5):
        while gateway.counts().gate.connections:  # noqa: ASYNC110  # PJSIP's thread closes them
            await asyncio.sleep(0.02)


async def test_slow_and_half_open_connections_are_ended_and_a_working_one_is_not(gateway: SipGateway) -> None:
    before = gateway.counts().gate
    target = ("127.0.0.1", gateway.tcp_port)
    with (
        socket.create_connection(target) as silent,
        socket.create_connection(target) as halting,
        socket.create_connection(target) as working,
    ):
        halting.sendall(request()[:-10])
        working.settimeout(3)
        working.sendall(request())
        assert (await asyncio.to_thread(working.recv, 4096)).startswith(b"SIP/2.0 200")
        began_s = time.monotonic()
        for stream in (silent, halting):
            stream.settimeout(5)
            assert await asyncio.to_thread(stream.recv, 1) == b""
        assert time.monotonic() - began_s < LIMITS.message_timeout_s + 3.5
        await grown(gateway, before, "connections_timed_out", 2)
        working.sendall(request())
        assert (await asyncio.to_thread(working.recv, 4096)).startswith(b"SIP/2.0 200")


async def test_draining_refuses_what_is_new_both_ways() -> None:
    settings = SipSettings(
        port=0, max_calls=2, rtp_port_min=33_100, rtp_port_max=33_199, retry_after_s=9, outbound_enabled=True
    )
    async with SipGateway(settings) as gateway:
        sender = Sender("127.0.0.1", gateway.udp_port)
        gateway.drain()
        for method in ("OPTIONS", "INVITE"):
            answer = (await sender.answers(request(method)))[0]
            assert answer.startswith("SIP/2.0 503")
            assert "Retry-After: 9" in answer
        with pytest.raises(TelephonyError, match="about to stop"):
            await gateway.call("sip:x@127.0.0.1")
        gateway.set_full(False)
        assert (await sender.answers(request()))[0].startswith("SIP/2.0 503"), "draining outlasts free slots"
        sender.socket.close()


async def test_more_callers_than_may_wait_are_told_when_to_come_back(
    gateway: SipGateway, senders: dict[str, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sip, "MAX_WAITING_INVITES", 0)
    invite = request("INVITE", "Content-Type: application/sdp\r\n", body=OFFER)
    answers = await senders[PEER].answers(invite, 0.5)
    assert any(answer.startswith("SIP/2.0 503") and "Retry-After: 7" in answer for answer in answers)


async def test_ports_rest_after_a_call_and_none_left_is_told_before_a_call_is_made() -> None:
    settings = SipSettings(port=0, max_calls=1, rtp_port_min=33_200, rtp_port_max=33_203, retry_after_s=3)
    async with SipGateway(settings) as gateway:
        sender = Sender("127.0.0.1", gateway.udp_port)
        calls = gateway.incoming()
        for resting in (1, 2):
            sender.send(request("INVITE", "Content-Type: application/sdp\r\n", body=OFFER))
            async with asyncio.timeout(5):
                (await anext(calls)).reject(486)
                while gateway.counts().gate.ports_resting < resting:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        await sender.answers()
        refused = await sender.answers(request("INVITE", "Content-Type: application/sdp\r\n", body=OFFER))
        assert refused[0].startswith("SIP/2.0 503")
        assert "Retry-After: 3" in refused[0]
        sender.socket.close()


def test_who_is_heard_is_said_by_the_settings_and_the_trunks() -> None:
    carrier, phones = Trunk(peers=("192.0.2.0/24",)), Trunk(peers=("203.0.113.0/24",))
    assert gate_networks(SipSettings(), []) == (("127.0.0.0/8", "::1/128"), ())
    assert gate_networks(SipSettings(), [carrier]) == (("192.0.2.0/24",), ())
    listed = SipSettings(allowed_peers=("198.51.100.0/24",), open_peers=("203.0.113.0/24",))
    assert gate_networks(listed, [carrier, phones]) == (
        ("198.51.100.0/24", "192.0.2.0/24"),
        ("203.0.113.0/24",),
    )
    assert gate_networks(SipSettings(open_peers=("0.0.0.0/0",)), []) == ((), ("0.0.0.0/0",))
    loose = SipSettings(allowed_peers=("192.0.2.7",), open_peers=("203.0.113.0/255.255.255.0",))
    assert gate_networks(loose, [phones]) == (("192.0.2.7/32",), ("203.0.113.0/24",))


async def test_a_host_that_we_have_called_is_heard_but_does_not_call_us() -> None:
    settings = SipSettings(
        port=0, max_calls=2, rtp_port_min=33_500, rtp_port_max=33_599, outbound_enabled=True, gate=LIMITS,
        allowed_peers=("127.0.0.0/24",),
    )  # fmt: skip
    async with SipGateway(settings) as gateway:
        callee = Sender(f"127.0.2.{next(_numbers)}", gateway.udp_port)
        assert await callee.answers(request()) == [], "a stranger until we ask it something"
        host, port = callee.socket.getsockname()
        placing = asyncio.create_task(gateway.call(f"sip:desk@{host}:{port}", timeout_s=5))
        invite = (await callee.answers())[0]
        kept = [
            line for line in invite.split("\r\n") if line.split(":")[0] in {"Via", "From", "Call-ID", "CSeq"}
        ]
        to = next(line for line in invite.split("\r\n") if line.startswith("To:"))
        lines = ["SIP/2.0 486 Busy Here", *kept, f"{to};tag=9", "Content-Length: 0"]
        callee.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        with pytest.raises(CallRefused, match="486"):
            await placing
        await callee.answers()  # the ACK
        assert (await callee.answers(request()))[0].startswith("SIP/2.0 200")
        before = gateway.counts().gate
        assert await callee.answers(request("INVITE", "Content-Type: application/sdp\r\n", body=OFFER)) == []
        await grown(gateway, before, "unwanted")
        callee.socket.close()


async def test_an_unknown_caller_who_guesses_secrets_is_banned() -> None:
    settings = SipSettings(
        port=0,
        max_calls=2,
        rtp_port_min=33_600,
        rtp_port_max=33_699,
        gate=LIMITS,
        open_peers=("127.0.1.0/24",),
    )
    phones = Trunk.model_validate(
        {"peers": ["127.0.1.0/24"], "callers": [{"user": "desk", "password": {"env": "DESK"}}]},
        context={"environ": {"DESK": "right"}},
    )
    guess = (
        'Authorization: Digest username="desk", realm="offhook", nonce="x", uri="sip:order@127.0.0.1", '
        f'response="{"0" * 32}"\r\nContent-Type: application/sdp\r\n'
    )
    async with SipGateway(settings, trunks={"phones": phones}) as gateway:
        before, guesser = gateway.counts().gate, Sender(f"127.0.1.{next(_numbers)}", gateway.udp_port)
        for _ in range(LIMITS.strikes):
            answers = await guesser.answers(request("INVITE", guess, body=OFFER))
            assert any(answer.startswith("SIP/2.0 401") for answer in answers)
        await grown(gateway, before, "bans")
        late = await guesser.answers(request("INVITE", guess, body=OFFER, call_id="one-too-many"), 0.4)
        assert not any("one-too-many" in answer for answer in late)  # the others' 401 are repeated
        guesser.socket.close()
