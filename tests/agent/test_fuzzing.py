"""Broken packets, and our own parsers under them: only their own errors may come out."""

import contextlib

from agent.bench_rtp import RtpPacket
from agent.bench_sip import SipMessage
from agent.fuzzing import Fuzzer
from agent.torture import Place
from telephony.errors import BadUri, MalformedPacket
from telephony.sip_call import headers_of
from telephony.sip_uri import called_user, checked_uri

PLACE = Place("127.0.0.1", 5070, "127.0.0.1", 5060)
NUM_PACKETS = 1_500


def test_the_same_seed_makes_the_same_packets_and_another_others() -> None:
    def packets(seed: int) -> list[bytes]:
        fuzzer = Fuzzer(seed, PLACE)
        return [make() for _ in range(50) for make in (fuzzer.rtp, fuzzer.rtcp)]

    assert packets(1) == packets(1)
    assert packets(1) != packets(2)


def test_packets_are_of_many_kinds_and_fit_a_datagram() -> None:
    fuzzer = Fuzzer(3, PLACE)
    sip = [fuzzer.sip() for _ in range(NUM_PACKETS)]
    assert max(map(len, sip)) <= 65_000
    assert len(set(sip)) > 0.9 * NUM_PACKETS
    for word in (b"INVITE ", b"SIP/2.0 ", b"m=audio", b"\x00", b"Content-Length", b"a=crypto"):
        assert sum(word in packet for packet in sip) > 10, word
    events = [packet for packet in (fuzzer.rtp() for _ in range(NUM_PACKETS)) if packet[1:2] == b"\x65"]
    assert len({len(packet) for packet in events}) >= 5, "RFC 4733 events, whole and cut short"


def test_our_own_parsers_raise_nothing_but_their_own_errors() -> None:
    fuzzer = Fuzzer(4, PLACE)
    for _ in range(NUM_PACKETS):
        packet = fuzzer.sip()
        text = packet.decode("utf-8", "replace")
        assert all(isinstance(value, str) for value in headers_of(text).values())
        with contextlib.suppress(MalformedPacket):
            _ = SipMessage.parse(packet).media_port
        with contextlib.suppress(MalformedPacket):
            RtpPacket.parse(fuzzer.rtp())
        uri = fuzzer.text()
        assert isinstance(called_user(uri), str)
        with contextlib.suppress(BadUri):
            checked_uri(uri)
