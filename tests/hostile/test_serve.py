"""A whole gateway: what its log never tells, and how it stops under live calls."""

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from agent.bench_gateway import GatewayProcess
from agent.bench_rtp import RtpEnd
from agent.bench_sip import SipMessage, SipPeer, sdp
from agent.torture import Place, request

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]

NUM_CALLS = 3
SECRETS = {  # what a log would have to hold to betray it
    "an SRTP key": "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
    "a digest's answer": "6629fae49393a05397450978507c4ef1",
    "the caller's number": "15550199",
    "what was pressed": "4711471147",
    "the admin's key": "an-admin-key-that-is-long-enough-0123456789",
    "a TURN password": "turn-password-of-nobody",
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayProcess]:
    settings = {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": str(NUM_CALLS + 1),
        "OFFHOOK_DRAIN_TIMEOUT_S": "60",
        "OFFHOOK_LOG__LEVEL": "debug",
        "OFFHOOK_LOG__FORMAT": "json",
        "OFFHOOK_HTTP__ADMIN_KEY": SECRETS["the admin's key"],
        "OFFHOOK_WEBRTC__ICE_SERVERS": "turn:127.0.0.1:3478?transport=udp",
        "OFFHOOK_WEBRTC__TURN_USERNAME": "somebody",
        "OFFHOOK_WEBRTC__TURN_PASSWORD": SECRETS["a TURN password"],
    }
    with GatewayProcess(settings) as process:
        process.key = SECRETS["the admin's key"]
        yield process


def wait_until(is_so: object, timeout_s: float = 10.0) -> None:
    """Wait for a condition of another process."""
    deadline = time.monotonic() + timeout_s
    assert callable(is_so)
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_key_credential_number_or_digit_is_in_the_log(gateway: GatewayProcess) -> None:
    end = RtpEnd()
    number = SECRETS["the caller's number"]
    key = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{SECRETS['an SRTP key']}\r\n"
    response = SECRETS["a digest's answer"]
    credentials = f'Digest username="{number}", realm="x", nonce="1", response="{response}"'
    with SipPeer(gateway.address, caller=number) as peer:
        peer.call_id = f"{number}.1@phone.test"  # as some phones make it
        answer = peer.call(sdp(end.port, "PCMU") + key, {"Authorization": credentials})
        end.start((gateway.address[0], answer.media_port))
        end.press(SECRETS["what was pressed"], 0.06)
        wait_until(lambda: not end.is_playing)
        for broken in (f"INVITE sip:{number} SIP/2.0\r\nAuthorization: {credentials}\r\n\r\n{key}", key):
            peer.send_raw(broken.encode())
        assert peer.hang_up().status == 200
    end.close()
    gateway.wait_until_idle()
    log = gateway.log_path.read_text(errors="replace")
    assert "call_answered" in log and "call_ended" in log, "it is a log of this call"
    found = [what for what, secret in SECRETS.items() if secret in log]
    assert found == []


def test_a_stop_under_live_calls_cuts_none_and_refuses_new_ones(gateway: GatewayProcess) -> None:
    ends, peers = [RtpEnd() for _ in range(NUM_CALLS)], [SipPeer(gateway.address) for _ in range(NUM_CALLS)]
    for end, peer in zip(ends, peers, strict=True):
        end.start((gateway.address[0], peer.call(sdp(end.port, "PCMU")).media_port))
    os.kill(gateway.pid, signal.SIGTERM)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.settimeout(5)
        place = Place.between(probe.getsockname(), gateway.address)
        for method in ("OPTIONS", "INVITE"):
            wait_until(lambda method=method: _refused(probe, place, method))
    before = [len(end.received) for end in ends]
    time.sleep(1.0)
    assert all(len(end.received) > had + 35 for end, had in zip(ends, before, strict=True))
    assert gateway.is_running
    for end, peer in zip(ends, peers, strict=True):
        assert peer.hang_up().status == 200
        assert peer.requests.empty(), "no BYE came from the gateway"
        peer.close()
        end.close()
    wait_until(lambda: not gateway.is_running, 20)


def _refused(probe: socket.socket, place: Place, method: str) -> bool:
    body = place.offer if method == "INVITE" else ""
    probe.sendto(request(place, method, body=body), (place.to_host, place.to_port))
    answer = SipMessage.parse(probe.recv(65_535))
    while answer.status < 200:
        answer = SipMessage.parse(probe.recv(65_535))
    return answer.status == 503 and "retry-after" in answer.headers
