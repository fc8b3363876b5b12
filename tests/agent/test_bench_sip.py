"""The measuring SIP user agent, against SIPp."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bench_sip import SipMessage, SipPeer, sdp
from telephony.errors import CallRefused, MalformedPacket, TelephonyError
from tests.loopback.sipp import find_free_port, sipp_program

pytestmark = pytest.mark.loopback
REFUSE = """<?xml version="1.0"?><scenario name="refuse"><recv request="INVITE"/><send><![CDATA[
SIP/2.0 503 Service Unavailable
[last_Via:]
[last_From:]
[last_To:];tag=1
[last_Call-ID:]
[last_CSeq:]
Retry-After: 7
Content-Length: 0

]]></send><recv request="ACK"/></scenario>"""


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_to_sipp_is_answered_and_ended(tmp_path: Path, transport: str) -> None:
    port = find_free_port()
    command = [sipp_program(), "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-mp", "42000", "-m", "1"]
    command += ["-t", {"udp": "u1", "tcp": "t1"}[transport], "-nostdin", "-timeout", "20s"]
    with (
        (tmp_path / "out").open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=out, cwd=tmp_path) as sipp,
    ):
        with connected(port, transport) as peer:
            answer = peer.call(sdp(4000, "PCMU"))
            assert (answer.status, answer.media_port) == (200, 42_000)
            assert peer.hang_up().status == 200
        assert sipp.wait(10) == 0


def test_a_refusal_is_acknowledged_and_raised(tmp_path: Path) -> None:
    port = find_free_port()
    scenario = tmp_path / "refuse.xml"
    scenario.write_text(REFUSE)
    command = [
        sipp_program(),
        "-sf",
        str(scenario),
        "-i",
        "127.0.0.1",
        "-p",
        str(port),
        "-m",
        "1",
        "-nostdin",
    ]
    with (
        (tmp_path / "out").open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=out, cwd=tmp_path) as sipp,
    ):
        with connected(port, "udp") as peer, pytest.raises(CallRefused) as caught:
            peer.call(sdp(4000))
        assert (caught.value.status, caught.value.retry_after_s) == (503, 7)
        assert sipp.wait(10) == 0  # it saw our ACK


def connected(port: int, transport: str) -> SipPeer:
    """A peer of a SIPp that may still be starting."""
    for _ in range(100):
        try:
            peer = SipPeer(("127.0.0.1", port), transport=transport)
        except ConnectionRefusedError:
            subprocess.run(["sleep", "0.05"], check=True)
            continue
        if transport == "tcp":
            return peer
        peer.send_raw(b"\r\n\r\n")
        bound = subprocess.run(["ss", "-Hlun", f"sport = :{port}"], capture_output=True, check=True).stdout
        if bound:
            return peer
        peer.close()
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("SIPp did not start")


def test_silence_is_an_error_that_names_what_was_awaited() -> None:
    with SipPeer(("127.0.0.1", find_free_port())) as peer:
        peer.send("OPTIONS")
        with pytest.raises(TelephonyError, match=r"no answer to OPTIONS in 0\.2 s"):
            peer.response("OPTIONS", timeout_s=0.2)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"SIP/2.0 200 " + tail))
def test_random_bytes_raise_nothing_but_our_error(raw: bytes) -> None:
    try:
        SipMessage.parse(raw)
    except MalformedPacket as error:
        assert "not a SIP message" in str(error)


def test_headers_of_any_case_and_the_media_port_are_found() -> None:
    message = SipMessage.parse(
        b"SIP/2.0 200 OK\r\nCSEQ: 4 INVITE\r\ncontact : <sip:a@b>\r\n\r\n" + sdp(4321).encode()
    )
    assert (message.status, message.method, message.media_port) == (200, "INVITE", 4321)
    assert message.headers["contact"] == "<sip:a@b>"
