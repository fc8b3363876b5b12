"""RFC 4475's cases, and broken packets by the thousand, against an endpoint built with assertions."""

import select
import socket
import time
from pathlib import Path

import pytest

from agent.bench_rtp import RtpEnd
from agent.bench_sip import SipMessage, SipPeer, sdp
from agent.fuzzing import Fuzzer
from agent.torture import CASES, Place
from telephony.errors import MalformedPacket
from tests.loopback.conftest import AnswererProcess

pytestmark = pytest.mark.loopback
NUM_PACKETS = 2_000
RFC_4475_CASES = 49


def final_statuses(udp: socket.socket) -> set[int]:
    """Every final status that has come here."""
    found = set()
    while select.select([udp], [], [], 0)[0]:
        try:
            found.add(SipMessage.parse(udp.recv(65_535)).status)
        except MalformedPacket:
            continue
    return {status for status in found if status >= 200}


def test_every_case_of_rfc_4475_gets_a_right_answer_and_ends_nothing(tmp_path: Path) -> None:
    assert len({case.name for case in CASES}) == RFC_4475_CASES
    with AnswererProcess(tmp_path) as answerer:
        senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in CASES]
        for case, sender in zip(CASES, senders, strict=True):
            sender.bind((answerer.address, 0))
            place = Place.between(sender.getsockname(), answerer.sip, user="busy")
            sender.sendto(case.build(place), answerer.sip)
        deadline = time.monotonic() + 3
        due = [sender for case, sender in zip(CASES, senders, strict=True) if None not in case.answers]
        while time.monotonic() < deadline and len(select.select(due, [], [], 0.1)[0]) < len(due):
            time.sleep(0.05)
        time.sleep(0.5)
        wrong = {}
        for case, sender in zip(CASES, senders, strict=True):
            statuses = final_statuses(sender)
            if not (statuses <= case.answers if statuses else None in case.answers):
                wrong[case.name] = statuses
            sender.close()
        assert wrong == {}
        with SipPeer(answerer.sip, user="echo") as peer:
            end = RtpEnd()
            peer.call(sdp(end.port, "PCMU"))
            assert peer.hang_up().status == 200
            end.close()
        answerer.stop(has_calls=True)  # of cases that were calls like any other, and never acknowledged


def test_an_offer_that_names_a_format_twice_is_answered_or_refused(tmp_path: Path) -> None:
    event = "a=rtpmap:101 telephone-event/8000\r\na=rtpmap:96 telephone-event/16000\r\n"
    with AnswererProcess(tmp_path) as answerer:
        for formats in ("0 0", "0 8 0 8", "0 101 101", "101 0 101 96 96 0", "96 96 101 101 8 8 8"):
            with SipPeer(answerer.sip, user="echo") as peer:
                offer = sdp(40_000, "PCMU").partition("m=audio")[0]
                peer.send("INVITE", body=f"{offer}m=audio 40000 RTP/AVP {formats}\r\n{event}")
                answer = peer.response("INVITE")
                peer.acknowledge(answer)
                assert answer.status in (200, 488), formats
                if answer.status == 200:
                    assert peer.hang_up().status == 200


def test_broken_packets_end_neither_the_endpoint_nor_a_call(tmp_path: Path) -> None:
    with AnswererProcess(tmp_path) as answerer:
        end = RtpEnd()
        with SipPeer(answerer.sip, user="echo") as peer:
            answer = peer.call(sdp(end.port, "PCMU"))
            end.start((answerer.address, answer.media_port))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((answerer.address, 0))
                fuzzer = Fuzzer(4475, Place.between(sender.getsockname(), answerer.sip, user="busy"))
                control = (answerer.address, answer.media_port + 1)
                for number in range(NUM_PACKETS):
                    sender.sendto(fuzzer.sip(), answerer.sip)
                    end.send_raw(fuzzer.rtp())  # from the caller's own address: it reaches the parsers
                    sender.sendto(fuzzer.rtcp(), control)
                    if number % 20 == 0:
                        time.sleep(0.02)
            heard = len(end.received)
            time.sleep(0.5)
            assert len(end.received) > heard + 10, "the call goes on"
            assert peer.hang_up().status == 200
        end.close()
        assert answerer.stop(has_calls=True)["malformed"] > 0
