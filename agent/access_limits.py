"""How often a peer may ask: a token bucket for each. No I/O here."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict

from agent.clock import Now

MAX_PEERS = 4096  # buckets kept; the peer that was quiet longest is forgotten, its bucket being full by then


class PeerBuckets:
    """`burst` at once, then `per_s` in a second, for each peer."""

    def __init__(self, now: Now, *, per_s: float, burst: float) -> None:
        self._now, self._per_s, self._burst = now, per_s, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # peer -> (tokens, when)

    def take(self, peer: str) -> float:
        """Take one token: 0 if there was one, else the seconds until there is."""
        wait_s = self.wait_s(peer)
        tokens, now_s = self._tokens(peer), self._now()
        self._left[peer] = (tokens - (0.0 if wait_s else 1.0), now_s)
        self._left.move_to_end(peer)
        if len(self._left) > MAX_PEERS:
            self._left.popitem(last=False)
        return wait_s

    def wait_s(self, peer: str) -> float:
        """Seconds until there is a token; 0: now. Takes none."""
        tokens = self._tokens(peer)
        return 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._per_s

    def _tokens(self, peer: str) -> float:
        tokens, at_s = self._left.get(peer, (self._burst, 0.0))
        return min(self._burst, tokens + (self._now() - at_s) * self._per_s)


def peer_name(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> str:
    """Whom a bucket belongs to: an IPv4 address, or the /64 that one IPv6 host has to itself."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def retry_after(wait_s: float) -> str:
    """The value of Retry-After: whole seconds, 1 at the least."""
    return str(max(1, math.ceil(wait_s)))
