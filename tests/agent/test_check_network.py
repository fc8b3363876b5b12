"""Ports, peers and trunks, as `offhook check` sees them."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import check_network
from agent.check import look, run
from agent.outbound import OutboundSettings
from agent.settings import HttpSettings, RecordingSettings
from telephony.settings import SipSettings
from tests.agent.test_check import NO_ARGUMENTS, obstacles, with_


@contextlib.contextmanager
def taken_port(kind: socket.SocketKind) -> Iterator[int]:
    """A port of this machine that somebody holds."""
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_taken_sip_port_is_a_problem(kind: socket.SocketKind, capsys: pytest.CaptureFixture[str]) -> None:
    with taken_port(kind) as port:
        settings = with_(sip=SipSettings(port=port))
        (found,) = obstacles(settings)
        assert str(port) in found.what and "OFFHOOK_SIP__PORT" in found.remedy
        assert run(NO_ARGUMENTS, settings) == 1
    assert "1 would stop" in capsys.readouterr().out


def test_a_taken_http_port_is_a_problem() -> None:
    with taken_port(socket.SOCK_STREAM) as port:
        (found,) = obstacles(with_(http=HttpSettings(port=port)))
        assert "OFFHOOK_HTTP__PORT" in found.remedy


def test_a_taken_metrics_port_is_a_problem() -> None:
    with taken_port(socket.SOCK_STREAM) as port:
        (found,) = obstacles(with_(http=HttpSettings(port=0, metrics_port=port)))
        assert "OFFHOOK_HTTP__METRICS_PORT" in found.remedy


def test_the_whole_world_as_peer_is_noted() -> None:
    sip = SipSettings(port=0, allowed_peers=("0.0.0.0/0",))
    assert any("whole world" in f.what and "SIP" in f.remedy for f in look(with_(sip=sip)))


def test_the_trunks_file_is_read_and_its_faults_are_told(tmp_path: Path) -> None:
    file = tmp_path / "trunks.yaml"
    file.write_text("trunks:\n  a: {peers: [0.0.0.0/0], transport: tls}\nlines: [{called: order}]\n")
    settings = with_(sip=SipSettings(port=0, trunks_file=file))
    (problem,) = obstacles(settings)
    assert "trunk a wants tls, which is off" in problem.what and "OFFHOOK_SIP__TRANSPORTS" in problem.remedy
    told = [finding.what for finding in look(settings)]
    assert any("1 trunks and 1 lines" in text for text in told)
    assert any("trunk a answers the whole world" in text for text in told)
    by_others = OutboundSettings.model_validate({"trunks": {"a": {}, "b": {}}})
    found = [one.what for one in obstacles(with_(sip=settings.sip, outbound=by_others))]
    assert found[0] == "no trunk b is known: no call leaves by it" and len(found) == 2
    file.write_text(
        "trunks:\n  far: {servers: [sip.example.net], registration: {}}\n"
        "  phones: {peers: [0.0.0.0/0], callers: [{user: desk, password: {env: PATH}}]}\n"
    )
    told = [finding.what for finding in check_network.trunks(settings)]
    assert "trunk far registers but names no peers: no call is its own" in told
    assert "trunk phones lets the whole world guess its callers' secrets" in told
    asking = RecordingSettings(announcement="Press 9.", opt_out_digit="9")
    told = [finding.what for finding in check_network.trunks(with_(sip=settings.sip, recording=asking))]
    assert "trunk phones: digits that come as tones cannot refuse recording" in told
    banning = with_(sip=SipSettings(port=0, trunks_file=file, open_peers=("0.0.0.0/0",)))
    assert not any("guess" in finding.what for finding in check_network.trunks(banning))
    file.write_text("trunks: {a: {peer: []}}\n")
    (problem,) = obstacles(settings)
    assert "line 1, trunks.a.peer" in problem.what
    (problem,) = obstacles(with_(sip=SipSettings(port=0, transports=("udp", "tls"))))
    assert "needs tls certificate and tls key" in problem.what


def test_a_prefix_that_allows_more_than_it_seems_to_is_noted() -> None:
    loose = {"host": "h.example", "prefixes": ("0",)}
    careful = {**loose, "denied_prefixes": ("00",)}
    rules = OutboundSettings.model_validate({**loose, "trunks": {"careful": careful}})
    told = [finding.what for finding in check_network.outbound(with_(outbound=rules))]
    assert told == ["by trunk default the prefix 0 allows 00, which leads abroad"]
