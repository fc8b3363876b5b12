"""The gateway as a process: its figures are real, its failure is told in its own words."""

import socket
from contextlib import closing

import pytest

from agent.bench_gateway import GatewayProcess, free_port
from agent.bench_rtp import RtpEnd
from agent.bench_sip import SipPeer, sdp
from agent.errors import WorkerUnavailable

pytestmark = [pytest.mark.loopback, pytest.mark.redis]


def test_what_a_call_holds_is_counted_and_given_back() -> None:
    settings = {"OFFHOOK_WORKER__ENGINE": "standin", "OFFHOOK_LOG__FORMAT": "json"}
    with GatewayProcess(settings) as gateway, SipPeer(gateway.address) as peer, closing(RtpEnd()) as end:
        assert (gateway.num_rtp_ports, gateway.metric("offhook_calls_active")) == (0, 0)
        assert gateway.resident_bytes > 30_000_000
        files = gateway.num_open_files
        peer.call(sdp(end.port))
        assert gateway.num_rtp_ports == 2
        assert gateway.num_open_files > files
        gateway.wait_for_metric("offhook_calls_active", 1)
        (live,), (answered,) = gateway.calls(), gateway.events("call_answered")
        assert answered["call_id"] == live["call_id"]
        assert gateway.holder() in gateway.children("agent.worker")
        peer.hang_up()
        gateway.wait_until_idle()
        assert gateway.num_rtp_ports == 0
        assert gateway.metric("offhook_no_such_metric") == 0
        with pytest.raises(WorkerUnavailable, match="offhook_redis_up is 1, not 7"):
            gateway.wait_for_metric("offhook_redis_up", 7, timeout_s=0.2)
        assert gateway.is_running
    assert not gateway.is_running


def test_a_gateway_that_will_not_start_says_why() -> None:
    with pytest.raises(WorkerUnavailable, match="max_calls=0 is outside"):
        GatewayProcess({"OFFHOOK_SIP__MAX_CALLS": "0"}).__enter__()


def test_a_free_port_is_free_for_both_transports() -> None:
    port = free_port()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as opened:
            opened.bind(("127.0.0.1", port))
