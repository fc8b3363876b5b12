"""What a newcomer is told, by nobody and by a gateway that is not ready to be called."""

import threading

import pytest

from agent.bench_gateway import HOST, free_port
from agent.bench_probe import Probe, probe_invite, probe_options
from agent.bench_sip import SipPeer

pytestmark = pytest.mark.loopback


def test_nobody_answers_by_nothing() -> None:
    nobody = HOST, free_port()
    assert probe_options(nobody, timeout_s=0.1) == Probe("OPTIONS", 0, "")
    assert probe_invite(nobody, timeout_s=0.1) == Probe("INVITE", 0, "")


def test_a_refusal_is_told_with_when_to_call_again() -> None:
    with SipPeer((HOST, 9)) as far:

        def refuse() -> None:
            request = far.request("INVITE")
            far.remote = HOST, int(request.headers["via"].partition(";")[0].rpartition(":")[2])
            far.answer(request, 503, "No free line\r\nRetry-After: 5")

        answering = threading.Thread(target=refuse)
        answering.start()
        assert probe_invite((HOST, far.port)) == Probe("INVITE", 503, "5")
        answering.join()
