"""Packets leave and arrive in batches, each at its own time and from its own sender."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from agent.load_sockets import PACKET_BYTES, ROOM, BatchSocket, OutBatch, host_number

HOST = "127.0.0.1"


@pytest.fixture
def opened() -> Iterator[Callable[[], BatchSocket]]:
    """Opens sockets, which are closed whatever happens."""
    with ExitStack() as stack:

        def open_one() -> BatchSocket:
            sock = BatchSocket(HOST)
            stack.callback(sock.close)
            return sock

        yield open_one


def wait_for_stamps(sock: BatchSocket) -> None:
    """Until the system stamps packets as they come: that begins some milliseconds after we ask."""
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        sock.socket.sendto(b"?", (HOST, sock.port))
        sent_s = time.monotonic()
        time.sleep(0.02)
        came = read_all(sock, 1)
        if came and came[0][0] < sent_s + 0.01:
            return
    pytest.fail("packets are not stamped")


def read_all(sock: BatchSocket, num: int) -> list[tuple[float, int, bytes]]:
    found: list[tuple[float, int, bytes]] = []
    deadline_s = time.monotonic() + 5
    while len(found) < num and time.monotonic() < deadline_s:
        batch = sock.read()
        if batch is not None:
            assert set(batch.host) == {host_number(HOST)}
            found += [
                (float(at_s), int(port), bytes(packet[:size]))
                for at_s, port, packet, size in zip(
                    batch.at_s, batch.port, batch.packets, batch.size, strict=True
                )
            ]
    return found


def test_chosen_rows_reach_their_addresses_with_the_time_of_their_arrival(
    opened: Callable[[], BatchSocket],
) -> None:
    one, other, sender = opened(), opened(), opened()
    wait_for_stamps(one)
    batch = OutBatch(3, 20)
    batch.packets[:] = np.arange(3)[:, None]
    for row, target in enumerate((one, other, one)):
        batch.address(row, HOST, target.port)
    batch.choose(np.array([0, 1]))
    began_s = time.monotonic()
    assert batch.send(sender.socket) == 2
    ended_s = time.monotonic()
    time.sleep(0.05)  # we look later; the stamp must not be later
    batch.choose(np.array([2]))
    assert batch.send(sender.socket) == 1
    heard = read_all(one, 2)
    assert [packet for *_, packet in heard] == [bytes(20), bytes([2] * 20)]
    assert {port for _, port, _ in heard} == {sender.port}
    assert began_s - 1e-3 <= heard[0][0] <= ended_s + 1e-3
    assert heard[1][0] - heard[0][0] > 0.049
    assert [packet for *_, packet in read_all(other, 1)] == [bytes([1] * 20)]
    assert one.read() is None


def test_more_packets_than_one_read_takes_all_come_and_a_full_buffer_is_counted(
    opened: Callable[[], BatchSocket],
) -> None:
    sock, sender = opened(), opened()
    batch = OutBatch(ROOM + 10, 30)
    for row in range(ROOM + 10):
        batch.address(row, HOST, sock.port)
        batch.packets[row] = row
    batch.choose(np.arange(ROOM + 10))
    assert batch.send(sender.socket) == ROOM + 10
    assert [packet[0] for *_, packet in read_all(sock, ROOM + 10)] == list(range(ROOM + 10))
    assert sock.num_dropped == 0
    large = OutBatch(ROOM, PACKET_BYTES)
    for row in range(ROOM):
        large.address(row, HOST, sock.port)
    large.choose(np.arange(ROOM))
    for _ in range(200):
        large.send(sender.socket)
    assert sock.num_dropped > 0
