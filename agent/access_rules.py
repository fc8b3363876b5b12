"""Which right each path asks for: one table, so that it can be read whole. No I/O here.

A path that is not in it asks for `admin`: a route that somebody forgets to list is closed, not open.
"""

from __future__ import annotations

import re

from agent.access_keys import Right

OPEN = None  # anybody on the allow-list; such an answer holds nothing about calls or this gateway

LIVE_SESSIONS = "/v1/live/sessions"
RULES: dict[tuple[str, str], Right | None] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,  # says more to who may read calls
    ("GET", "/"): OPEN,  # the page's files: the same for everybody, without data
    ("GET", "/console/{}"): OPEN,
    ("POST", "/v1/console/login"): OPEN,  # takes a code or a key, and is limited
    ("GET", "/metrics"): Right.METRICS_READ,
    ("GET", "/v1/calls"): Right.CALLS_READ,
    ("POST", "/v1/calls"): Right.CALLS_DIAL,
    ("GET", "/v1/calls/{}"): Right.CALLS_READ,
    ("POST", "/v1/calls/{}/hangup"): Right.CALLS_CONTROL,
    ("POST", "/v1/calls/{}/transfer"): Right.CALLS_CONTROL,
    ("POST", "/v1/calls/{}/say"): Right.CALLS_CONTROL,
    ("POST", "/v1/calls/{}/silence"): Right.CALLS_CONTROL,
    ("GET", "/v1/console/events"): Right.CALLS_READ,
    ("POST", "/v1/console/token"): Right.CALLS_CREATE,
    ("GET", "/v1/recordings"): Right.RECORDINGS_READ,
    ("GET", "/v1/recordings/{}"): Right.RECORDINGS_READ,
    ("GET", "/v1/recordings/{}/audio"): Right.RECORDINGS_READ,
    ("GET", "/v1/recordings/{}/waveform"): Right.RECORDINGS_READ,
    ("POST", LIVE_SESSIONS): Right.CALLS_CREATE,
    ("POST", f"{LIVE_SESSIONS}/{{}}/hangup"): Right.CALLS_CREATE,  # of a session whose id one was given
}
ANY_RIGHT = {("GET", "/v1/console/session"), ("POST", "/v1/console/logout")}  # for whoever is known at all


def rule_of(method: str, canonical: str) -> Right | None:
    """The right that a route asks for; its path's parameters count whatever they are called."""
    place = ("GET" if method == "HEAD" else method, re.sub(r"\{[^}]*\}", "{}", canonical))
    return RULES.get(place, Right.ADMIN)


def is_for_anybody_known(method: str, canonical: str) -> bool:
    """Whether a route asks for no right, but for an identity."""
    return (method, canonical) in ANY_RIGHT
