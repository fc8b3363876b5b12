"""What a gateway tells newcomers: one INVITE or one OPTIONS, and the answer."""

from __future__ import annotations

from dataclasses import dataclass

from agent.bench_gateway import free_port
from agent.bench_sip import SipPeer, sdp
from agent.load_speech import CODEC
from telephony.errors import CallRefused, TelephonyError


@dataclass(frozen=True, slots=True)
class Probe:
    """What one newcomer heard: of an INVITE or of OPTIONS; status 0: nothing."""

    method: str
    status: int
    retry_after: str


def probe_invite(remote: tuple[str, int], timeout_s: float = 2.0) -> Probe:
    """What a new caller hears."""
    with SipPeer(remote) as peer:
        try:
            peer.call(sdp(free_port(), CODEC), timeout_s=timeout_s)
        except CallRefused as error:
            return Probe(
                "INVITE", error.status, "" if error.retry_after_s is None else str(error.retry_after_s)
            )
        except TelephonyError:
            return Probe("INVITE", 0, "")
        peer.hang_up()
        return Probe("INVITE", 200, "")


def probe_options(remote: tuple[str, int], timeout_s: float = 2.0) -> Probe:
    """What whoever watches the gateway hears."""
    with SipPeer(remote) as peer:
        peer.send("OPTIONS")
        try:
            answer = peer.response("OPTIONS", timeout_s)
        except TelephonyError:
            return Probe("OPTIONS", 0, "")
        return Probe("OPTIONS", answer.status, answer.headers.get("retry-after", ""))
