"""Each attack sends what it says, from where it says, to sockets of ours."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from agent import attacks
from agent.attacks import STRANGER, Target, paced


@pytest.fixture
def sink() -> Iterator[tuple[Target, dict[str, socket.socket]]]:
    """Where packets go: a SIP port, a call's RTP and RTCP ports, a TCP listener."""
    with contextlib.ExitStack() as stack:
        sockets = {}
        for name in ("sip", "rtp"):
            sockets[name] = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sockets[name].bind(("127.0.0.1", 0))
            sockets[name].setblocking(False)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sockets["tcp"] = listener
        sip, rtp = sockets["sip"].getsockname(), sockets["rtp"].getsockname()
        yield Target(sip, listener.getsockname()[1], (rtp,)), sockets


def received(udp: socket.socket) -> list[tuple[bytes, str]]:
    """Every packet that waits, and its sender's host."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            packet, source = udp.recvfrom(65_535)
            found.append((packet, source[0]))
    return found


def test_packets_keep_their_pace() -> None:
    began_s = time.monotonic()
    assert list(paced(100, 500.0)) == list(range(100))
    assert time.monotonic() - began_s >= 0.18


def test_strangers_send_whole_invites_from_an_address_on_no_list(
    sink: tuple[Target, dict[str, socket.socket]],
) -> None:
    target, sockets = sink
    attacks.send_strangers(target, 10, 1000.0, 1)
    found = received(sockets["sip"])
    assert len(found) == 10 and {source for _, source in found} == {STRANGER}
    assert all(packet.startswith(b"INVITE sip:order@127.0.0.1") for packet, _ in found)


def test_fuzz_goes_to_both_kinds_of_ports_and_torture_to_one(
    sink: tuple[Target, dict[str, socket.socket]],
) -> None:
    target, sockets = sink
    attacks.send_fuzz(target, 40, 2000.0, 1)
    assert (len(received(sockets["sip"])), len(received(sockets["rtp"]))) == (20, 10)
    attacks.send_torture(target, 49, 2000.0, 1)
    assert len(received(sockets["sip"])) == 49


def test_forged_sound_comes_from_the_callers_host_and_from_another(
    sink: tuple[Target, dict[str, socket.socket]],
) -> None:
    target, sockets = sink
    attacks.send_forged(target, 20, 1000.0, 1)
    sources = [source for _, source in received(sockets["rtp"])]
    assert sources.count(STRANGER) == sources.count("127.0.0.1") == 10


def test_slow_connections_are_held_and_opened_anew(
    sink: tuple[Target, dict[str, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, sockets = sink
    monkeypatch.setattr(attacks, "HELD_CONNECTIONS", 4)
    accepted: list[socket.socket] = []

    def accept() -> None:
        for number in itertools.count():
            stream, _ = sockets["tcp"].accept()
            accepted.append(stream)
            if number == 0:
                stream.close()
            if number == 4:
                return

    server = threading.Thread(target=accept)
    server.start()
    attacks.send_slow(target, 40, 200.0, 1)
    server.join(5)
    assert len(accepted) == 5, "the one that was ended has been opened again"
    for stream in accepted:
        stream.close()
