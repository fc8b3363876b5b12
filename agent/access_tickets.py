"""Short-lived secrets that stand for a right: login codes, browser sessions, tokens for one call. No I/O.

They live in memory alone, as hashes: a restart ends them all. Each kind is bounded: past the bound the oldest
goes.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from agent.access_keys import Right, digest_of
from agent.clock import Now


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a secret stands for."""

    rights: frozenset[Right]
    name: str
    key_id: str | None  # the API key it came from, whose end is its end; None: the printed link
    ends_s: float  # on the injected clock


class Tickets:
    """One kind of secret: issue, look up, redeem once, end."""

    def __init__(self, now: Now, *, life_s: float, max_held: int) -> None:
        self.life_s = life_s
        self._now = now
        self._max_held = max_held
        self._held: OrderedDict[str, tuple[str, Ticket]] = (
            OrderedDict()
        )  # by the public half: (digest, ticket)

    def __len__(self) -> int:
        self._expire()
        return len(self._held)

    def issue(self, rights: frozenset[Right], name: str, key_id: str | None = None) -> str:
        """A new secret, 256 bits, good for `life_s`."""
        self._expire()
        while len(self._held) >= self._max_held:
            self._held.popitem(last=False)
        place = secrets.token_hex(6)
        text = f"{place}.{secrets.token_urlsafe(32)}"
        self._held[place] = (digest_of(text), Ticket(rights, name, key_id, self._now() + self.life_s))
        return text

    def find(self, text: str) -> Ticket | None:
        """What this secret stands for now, or None."""
        digest, ticket = self._held.get(text.partition(".")[0], ("", None))
        if ticket is None or not hmac.compare_digest(digest_of(text), digest):
            return None
        return ticket if self._now() < ticket.ends_s else None

    def redeem(self, text: str) -> Ticket | None:
        """The same, once: afterwards the secret is void."""
        ticket = self.find(text)
        if ticket is not None:
            self.end(text)
        return ticket

    def end(self, text: str) -> None:
        """Make a secret void; harmless if it is."""
        if self.find(text) is not None:
            del self._held[text.partition(".")[0]]

    def _expire(self) -> None:
        now_s = self._now()
        while self._held:
            place, (_, ticket) = next(iter(self._held.items()))  # one life for all: the oldest ends first
            if now_s < ticket.ends_s:
                return
            del self._held[place]
