"""What SIPp and baresip cannot do: digits both ways, foreign and broken packets, broken SIP."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from agent.bench_rtp import PACKET_SAMPLES, RtpEnd, RtpPacket, encode
from agent.bench_sip import SipPeer, sdp
from telephony.errors import CallRefused
from tests.loopback.answerer import DIGITS
from tests.loopback.conftest import AnswererProcess
from tests.signals import Pcm, assert_crossed, speech_like, tone

pytestmark = pytest.mark.loopback
RTP_HZ = 8_000
TORTURE = [  # RFC 4475's spirit: almost SIP
    b"",
    b"\r\n",
    b"INVITE",
    b"INVITE sip:echo@127.0.0.1 SIP/2.0\r\n\r\n",
    b"INVITE sip:echo@127.0.0.1 SIP/7.0\r\nVia: x\r\n\r\n",
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK1\r\nCSeq: 1 INVITE\r\n\r\n",
    b"OPTIONS sip:echo@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK2\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 99999999999 OPTIONS\r\n\r\n",
    b"INVITE sip:echo@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK3\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 2\r\nCSeq: 1 INVITE\r\n"
    b"Contact: <sip:a@127.0.0.1:9>\r\n"
    b"Content-Type: application/sdp\r\nContent-Length: 4000\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\n",
    b"\xff\xfe" + bytes(range(256)) * 4,
    b"A" * 60_000,
    b"INVITE sip:" + b"%00" * 5_000 + b"@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1\r\n\r\n",
]


@contextmanager
def call(
    answerer: AnswererProcess, extension: str = "echo", hold_s: float = 0.0
) -> Iterator[tuple[SipPeer, RtpEnd]]:
    """A call that is up: the peer, and its RTP end sending silence."""
    end = RtpEnd(hold_s=hold_s)
    try:
        with SipPeer(answerer.sip, user=extension) as peer:
            answer = peer.call(sdp(end.port, end.codec))
            end.start((answerer.address, answer.media_port))
            yield peer, end
    finally:
        end.close()


def say(end: RtpEnd, pcm: Pcm) -> None:
    """Play it, and wait until it has left and its echo had time to come."""
    end.play(pcm)
    deadline = time.monotonic() + len(pcm) / RTP_HZ + 5
    while end.is_playing and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)


def test_digits_go_both_ways(answerer: AnswererProcess) -> None:
    with call(answerer, "digits") as (peer, end):
        end.press("0123456789*#ABCD"[:12])
        heard = [answerer.wait("dtmf")["digit"] for _ in range(12)]
        assert "".join(heard) == "0123456789*#"
        deadline = time.monotonic() + 5
        while end.heard_digits() != DIGITS and time.monotonic() < deadline:
            time.sleep(0.02)
        assert end.heard_digits() == DIGITS
        assert peer.hang_up().status == 200


def test_we_hang_up_when_the_transfer_is_done(answerer: AnswererProcess) -> None:
    with call(answerer, "refer") as (peer, _):
        assert peer.request("REFER").headers["refer-to"].strip("<>") == "sip:desk@127.0.0.1:5999"
        final = {"Event": "refer", "Subscription-State": "terminated;reason=noresource"}
        peer.send("NOTIFY", {**final, "Content-Type": "message/sipfrag"}, "SIP/2.0 486 Busy Here\r\n")
        assert answerer.wait("transfer", code=486)
        assert peer.request("BYE")
        answerer.wait("ended")


def test_rtp_from_a_foreign_source_is_dropped_and_counted(answerer: AnswererProcess) -> None:
    speech = speech_like(4.0, RTP_HZ)
    loud = encode(tone(1_000, 0.02, RTP_HZ, 0.9), "PCMU")
    with call(answerer) as (peer, end), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        time.sleep(0.5)  # the source is locked by now
        end.play(speech)
        target = (answerer.address, end.sent[0].source[1])
        for number in range(150):
            packet = RtpPacket(0, number, number * PACKET_SAMPLES, 0xBAD, loud)
            stranger.sendto(packet.pack(), target)
            time.sleep(0.02)
        say(end, np.zeros(RTP_HZ, np.float32))
        peer.hang_up()
    stats = answerer.wait("stats")
    assert stats["foreign_packets"] >= 140
    assert_crossed(speech, end.heard(), RTP_HZ)


def test_garbage_on_both_ports_leaves_a_call_untouched(answerer: AnswererProcess) -> None:
    speech = speech_like(3.0, RTP_HZ)
    dice = random.Random(1)
    with call(answerer) as (peer, end):
        time.sleep(0.3)
        end.play(speech)
        for number in range(300):
            noise = dice.randbytes(dice.randrange(1, 200))
            end.send_raw(noise if number % 2 else b"\x80" + noise)
            peer.send_raw(TORTURE[number % len(TORTURE)] if number % 3 else noise)
            time.sleep(0.01)
        say(end, np.zeros(RTP_HZ // 2, np.float32))
        assert peer.hang_up().status == 200
    assert_crossed(speech, end.heard(), RTP_HZ)
    answerer.wait("stats")
    assert answerer.stop()["malformed"] > 0


def test_broken_sip_over_tcp_does_not_end_the_service(answerer: AnswererProcess) -> None:
    address = (answerer.address, answerer.tcp_port)
    for broken in TORTURE[2:]:
        with socket.create_connection(address) as stream:
            stream.sendall(broken)
    end = RtpEnd()
    with SipPeer(address, transport="tcp", user="echo") as peer:
        assert peer.call(sdp(end.port, "PCMA")).status == 200
        assert peer.hang_up().status == 200
    end.close()


def test_a_bye_instead_of_the_ack_ends_the_call(answerer: AnswererProcess) -> None:
    with SipPeer(answerer.sip, user="echo") as peer:
        peer.send("INVITE", body=sdp(4000, "PCMU"))
        peer.to = peer.response("INVITE").headers["to"]
        assert peer.hang_up().status == 200
    answerer.wait("unanswered")
    with call(answerer) as (second, _):
        assert second.hang_up().status == 200


def test_a_service_that_stops_ends_its_calls(answerer: AnswererProcess) -> None:
    with call(answerer) as (talking, _), SipPeer(answerer.sip, user="slow") as ringing:
        ringing.send("INVITE", body=sdp(4000))
        assert ringing.response("INVITE", provisional=True).status == 180
        answerer.stop(has_calls=True)
        assert talking.request("BYE")
        refusal = ringing.response("INVITE")
        ringing.acknowledge(refusal)
        assert refusal.status >= 400


def test_after_refusals_the_line_is_free(answerer: AnswererProcess) -> None:
    for _ in range(20):
        with SipPeer(answerer.sip, user="full") as peer, pytest.raises(CallRefused) as caught:
            peer.call(sdp(4000))
        assert (caught.value.status, caught.value.retry_after_s) == (503, 7)
    answerer.stop()  # insists that no audio port is still lent
