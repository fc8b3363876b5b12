"""Signalling of a load against a peer that answers by hand: what is lost is sent again, twice is once."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from agent import load_signalling
from agent.bench_sip import SipMessage, sdp
from agent.load_signalling import Callers, Changes, Dialog, DialogState, server_of
from telephony.errors import MalformedPacket

HOST = "127.0.0.1"


class Far:
    """The other side: one socket, nothing of its own accord."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.settimeout(5)
        self.callers = Callers(self.socket.getsockname())
        self.source = (HOST, 0)

    def hear(self, method: str) -> SipMessage:
        raw, self.source = self.socket.recvfrom(65_535)
        message = SipMessage.parse(raw)
        assert message.first_line.startswith(method + " "), message.first_line
        return message

    def answer(self, request: SipMessage, status: str, body: str = "", tag: str = "far") -> None:
        to = request.headers["to"]
        lines = [
            f"SIP/2.0 {status}",
            *(f"{name}: {request.headers[name.lower()]}" for name in ("Via", "From", "Call-ID", "CSeq")),
            f"To: {to}" if "tag=" in to else f"To: {to};tag={tag}",
            f"Contact: <sip:far@{HOST}:{self.socket.getsockname()[1]};x=1>",
            f"Content-Length: {len(body)}",
        ]
        self.socket.sendto(("\r\n".join(lines) + "\r\n\r\n" + body).encode(), self.source)

    def ask(self, dialog: Dialog, method: str, *more: str) -> None:
        """A request of ours in its call."""
        about = [f"Call-ID: {dialog.call_id}", f"CSeq: 1 {method}", "From: a", "To: b", "Via: v", *more]
        self.socket.sendto("\r\n".join([f"{method} sip:x SIP/2.0", *about, "", ""]).encode(), self.source)

    def poll_until(self, is_done: Callable[[Changes], bool]) -> Changes:
        deadline_s = time.monotonic() + 5
        while time.monotonic() < deadline_s:
            changes = self.callers.poll(time.monotonic())
            if is_done(changes):
                return changes
            time.sleep(0.005)
        raise AssertionError("nothing came")


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    monkeypatch.setattr(load_signalling, "T1_S", 0.05)
    end = Far()
    yield end
    end.callers.close()
    end.socket.close()


def test_a_call_from_an_invite_that_was_lost_to_a_bye(far: Far) -> None:
    dialog = far.callers.invite(7, 40_000)
    first = far.hear("INVITE")
    assert first.media_port == 40_000 and "+1555000007" in first.headers["from"]
    far.poll_until(lambda _: far.callers.num_retransmissions > 0)
    again = far.hear("INVITE")
    assert again.headers["via"] == first.headers["via"], "the same transaction"
    far.answer(again, "180 Ringing")
    far.answer(again, "200 OK", sdp(41_000, "PCMU"))
    changes = far.poll_until(lambda found: bool(found.answered))
    assert changes.answered == [dialog] and dialog.state is DialogState.CONFIRMED
    assert dialog.remote_media_port == 41_000 and dialog.answered_s is not None
    acknowledged = far.hear("ACK")
    assert acknowledged.headers["cseq"] == "1 ACK" and acknowledged.headers["to"].endswith(";tag=far")
    assert ";x=1" in acknowledged.first_line, "to the contact"
    far.answer(again, "200 OK", sdp(41_000, "PCMU"))  # our ACK was lost
    far.poll_until(lambda _: True)
    far.hear("ACK")
    far.callers.hang_up(dialog)
    far.callers.hang_up(dialog)  # once
    far.answer(far.hear("BYE"), "200 OK")
    assert far.poll_until(lambda found: bool(found.over)).over == [dialog]
    assert dialog.is_over and not dialog.failure and far.callers.num_live == 0


def test_moving_is_a_reinvite_with_the_new_address(far: Far) -> None:
    dialog = far.callers.invite(0, 40_000)
    far.answer(far.hear("INVITE"), "200 OK", sdp(41_000, "PCMU"))
    far.poll_until(lambda found: bool(found.answered))
    far.hear("ACK")
    far.callers.move(dialog, 40_002, "127.0.0.2")
    moved = far.hear("INVITE")
    assert moved.headers["cseq"] == "2 INVITE" and moved.media_port == 40_002
    assert "c=IN IP4 127.0.0.2" in moved.body
    far.answer(moved, "200 OK", sdp(41_000, "PCMU"))
    far.poll_until(lambda found: bool(found.answered))
    assert far.hear("ACK").headers["cseq"] == "2 ACK" and dialog.status == 200


def test_a_refusal_is_acknowledged_within_its_transaction(far: Far) -> None:
    dialog = far.callers.invite(0, 40_000)
    invite = far.hear("INVITE")
    far.answer(invite, "503 No free line")
    assert far.poll_until(lambda found: bool(found.over)).over == [dialog]
    assert far.hear("ACK").headers["via"] == invite.headers["via"]
    assert dialog.failure == "the call was refused: 503 No free line"


def test_the_far_end_may_hang_up_and_who_never_answers_is_given_up(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialog = far.callers.invite(0, 40_000)
    invite = far.hear("INVITE")
    far.answer(invite, "200 OK", sdp(41_000, "PCMU"))
    far.poll_until(lambda found: bool(found.answered))
    far.hear("ACK")
    far.ask(dialog, "BYE")
    assert far.poll_until(lambda found: bool(found.over)).over == [dialog]
    assert dialog.was_ended_by_far
    assert far.hear("SIP/2.0 200").headers["call-id"] == dialog.call_id
    monkeypatch.setattr(load_signalling, "GIVE_UP_S", 0.2)
    silent = far.callers.invite(1, 40_000)
    assert far.poll_until(lambda found: bool(found.over)).over == [silent]
    assert "no answer to INVITE" in silent.failure


def test_a_refer_is_taken_and_its_outcome_told(far: Far) -> None:
    dialog = far.callers.invite(0, 40_000)
    far.answer(far.hear("INVITE"), "200 OK", sdp(41_000, "PCMU"))
    far.poll_until(lambda found: bool(found.answered))
    far.hear("ACK")
    for _ in range(2):  # the second is a repetition
        far.ask(dialog, "REFER", "Refer-To: <sip:desk@127.0.0.1:5070>")
    assert far.poll_until(lambda found: bool(found.referred)).referred == [dialog]
    assert dialog.referred_to == "sip:desk@127.0.0.1:5070"
    far.hear("SIP/2.0 202")
    for status, state in ((100, "active"), (200, "terminated")):
        far.callers.notify(dialog, status)
        told = far.hear("NOTIFY") if status == 200 else first_of(far, "NOTIFY")
        assert told.body.startswith(f"SIP/2.0 {status} ") and told.headers["event"] == "refer"
        assert told.headers["subscription-state"].startswith(state)
        assert told.headers["content-type"] == "message/sipfrag"
        far.answer(told, "200 OK")
        far.poll_until(lambda _: True)
    assert dialog.state is DialogState.CONFIRMED and dialog.remote_media_port == 41_000
    far.ask(dialog, "BYE")
    assert far.poll_until(lambda found: bool(found.over)).over == [dialog]


def first_of(far: Far, method: str) -> SipMessage:
    """The next request, behind the answers to repetitions."""
    while True:
        raw, far.source = far.socket.recvfrom(65_535)
        if raw.startswith(method.encode()):
            return SipMessage.parse(raw)


def test_somebody_else_is_called_at_their_address_and_a_proxy_sees_every_request(far: Far) -> None:
    other = Far()
    try:
        port = other.socket.getsockname()[1]
        dialog = far.callers.invite(0, 40_000, uri=f"sip:desk@{HOST}:{port}")
        invite = other.hear("INVITE")
        assert invite.headers["to"] == f"<sip:desk@{HOST}:{port}>" and "route" not in invite.headers
        proxy = "<sip:127.0.0.1:5099;lr;ftag=a>"
        other.answer(invite, f"200 OK\r\nRecord-Route: {proxy}", sdp(41_000, "PCMU"))
        far.poll_until(lambda found: bool(found.answered))
        assert other.hear("ACK").headers["route"] == proxy
        far.callers.hang_up(dialog)
        bye = other.hear("BYE")
        assert bye.headers["route"] == proxy and bye.first_line.startswith("BYE sip:far@")
    finally:
        other.callers.close()
        other.socket.close()


def test_only_a_numeric_host_can_be_followed() -> None:
    assert server_of("sip:desk@192.0.2.7") == ("192.0.2.7", 5060)
    assert server_of("sip:a@127.0.0.1:5070;transport=udp") == ("127.0.0.1", 5070)
    for wrong in ("sip:desk@example.org", "tel:+49", "sip:127.0.0.1", "sip:a@1.2.3.4:x"):
        with pytest.raises(MalformedPacket):
            server_of(wrong)
