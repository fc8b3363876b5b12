"""Token buckets, moved by hand."""

import ipaddress

import pytest

from agent.access_limits import MAX_PEERS, PeerBuckets, peer_name, retry_after
from agent.clock import ManualClock


def test_a_burst_passes_then_one_at_a_time() -> None:
    clock = ManualClock()
    buckets = PeerBuckets(clock, per_s=2, burst=3)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0  # another's is full
    clock.advance(0.5)
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    clock.advance(1000)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_being_refused_costs_nothing() -> None:
    clock = ManualClock()
    buckets = PeerBuckets(clock, per_s=1, burst=1)
    waits = [buckets.take("a") for _ in range(50)]
    assert waits[0] == 0 and set(waits[1:]) == {1.0}
    clock.advance(1)
    assert buckets.wait_s("a") == 0


def test_a_flood_of_peers_takes_bounded_memory() -> None:
    buckets = PeerBuckets(ManualClock(), per_s=1, burst=1)
    for number in range(MAX_PEERS + 10):
        buckets.take(str(number))
    assert len(buckets._left) == MAX_PEERS


@pytest.mark.parametrize(
    ("address", "name"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff:1", "2001:db8::/64")],
)
def test_a_host_cannot_hide_among_its_own_addresses(address: str, name: str) -> None:
    assert peer_name(ipaddress.ip_address(address)) == name


def test_retry_after_is_whole_seconds() -> None:
    assert [retry_after(wait_s) for wait_s in (0.01, 1.0, 1.2)] == ["1", "1", "2"]
