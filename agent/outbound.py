"""Where calls may go, from whom, how many and how long: one policy for every call that leaves. No I/O here.

Dialling through the API, transfers that the model, a tool or an operator asks for, and
consultation calls all pass `OutboundPolicy`; a REFER that we receive is never followed (403), whatever they
allow. What is not on a list is refused: a stolen key, a model that was talked round or a hijacked trunk costs
at most what these rules allow. Numbers are compared as dialled,
after everything that could say two things (escapes, parameters, letters, other scripts' digits) is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from agent.errors import AgentError
from agent.section import Section, Words
from telephony.errors import BadUri
from telephony.sip_uri import checked_uri

DEFAULT_TRUNK = "default"
_TRUNK = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_NUMBER = re.compile(r"\+?[0-9]{3,32}")
_PREFIX = re.compile(r"\+?[0-9]{1,32}")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_URI = re.compile(r"sip:(?P<user>[^@;]+)@(?P<host>[^;@\s]+)(?P<parameters>;.*)?")
_VISUAL = str.maketrans("", "", "-.() ")  # RFC 3966 section 3: they mean nothing


class Purpose(StrEnum):
    """Who wants the call."""

    DIAL = "dial"  # POST /v1/calls
    TRANSFER = "transfer"  # the model, a tool or an operator: to where a caller shall be put


class Refusal(StrEnum):
    """Why a call may not be; the label `result` of `offhook_outbound_decisions_total`."""

    OFF = "outbound_off"
    UNKNOWN_TRUNK = "unknown_trunk"
    NO_DESTINATION = "no_destination"  # not a number or an address that means one thing
    NOT_ALLOWED = "destination_not_allowed"
    NOT_OUR_NUMBER = "caller_id_not_owned"
    TOO_FAST = "rate"
    TOO_MANY = "concurrency"
    DAY_CALLS = "daily_calls"
    DAY_MINUTES = "daily_minutes"
    COUNTERS_AWAY = "counters_away"  # Redis is not there, so nothing can be counted: no call then

    @property
    def is_lasting(self) -> bool:
        """Whether the same wish will be refused tomorrow, too."""
        return self in _LASTING


_LASTING = {
    Refusal.OFF,
    Refusal.UNKNOWN_TRUNK,
    Refusal.NO_DESTINATION,
    Refusal.NOT_ALLOWED,
    Refusal.NOT_OUR_NUMBER,
}
_REMEDIES = {
    Refusal.OFF: "placing calls is off; set OFFHOOK_OUTBOUND__ENABLED=true, and who may be called",
    Refusal.UNKNOWN_TRUNK: "there is no trunk of this name",
    Refusal.NO_DESTINATION: "write a number like +49301234567, or sip:user@host without parameters",
    Refusal.NOT_ALLOWED: "neither OFFHOOK_OUTBOUND__PREFIXES nor __TARGETS allows this destination",
    Refusal.NOT_OUR_NUMBER: "the caller's number is not in OFFHOOK_OUTBOUND__CALLER_IDS",
    Refusal.TOO_FAST: "too many calls in the last minute (OFFHOOK_OUTBOUND__CALLS_PER_MINUTE)",
    Refusal.TOO_MANY: "too many calls at once (OFFHOOK_OUTBOUND__MAX_CONCURRENT, or the trunk's max_calls)",
    Refusal.DAY_CALLS: "today's calls are used up (OFFHOOK_OUTBOUND__CALLS_PER_DAY)",
    Refusal.DAY_MINUTES: "today's minutes are used up (OFFHOOK_OUTBOUND__MINUTES_PER_DAY)",
    Refusal.COUNTERS_AWAY: "Redis, which counts the calls, is away",
}


class OutboundRefused(AgentError):
    """A call that may not be placed; the text names the rule, never the number."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(_REMEDIES[refusal])
        self.refusal = refusal


class OutboundRules(Section):
    """What may leave by one trunk. By default nothing may."""

    enabled: bool = False  # calls by API; transfers need only an allowed destination
    host: str = ""  # where numbers are sent to: the carrier's host, or host:port
    prefixes: Words = ()  # numbers that may be called begin with one of these, as they are dialled: +4930
    denied_prefixes: Words = ()  # and with none of these: +49900
    targets: Words = ()  # SIP addresses that may be called besides: sip:desk@192.0.2.7
    caller_ids: Words = ()  # numbers that are ours to show; the first is shown if nothing is asked for
    calls_per_minute: int = Field(default=10, ge=1, le=6000)
    max_concurrent: int = Field(default=5, ge=1, le=2048)
    max_duration_s: float = Field(default=1800.0, gt=0, le=86_400)
    calls_per_day: int = Field(default=200, ge=1, le=1_000_000)  # days begin at midnight UTC
    minutes_per_day: float = Field(default=600.0, gt=0, le=10_000_000)

    @model_validator(mode="after")
    def _meant(self) -> Self:
        for name in ("prefixes", "denied_prefixes", "caller_ids"):
            for number in getattr(self, name):
                if not _PREFIX.fullmatch(number):
                    raise ValueError(f"{name} has {number!r}; write digits, with + where they are dialled so")
        for target in self.targets:
            checked_uri(target)
        if self.host and not _HOST.fullmatch(self.host):
            raise ValueError(f"host={self.host!r} is no host; write sip.example.org or 192.0.2.7:5080")
        if self.prefixes and not self.host:
            raise ValueError("prefixes without a host reach nobody; set host to the carrier's")
        return self


def _json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


class OutboundSettings(OutboundRules):
    """The rules of the trunk `default`, and of others by their names."""

    answer_timeout_s: float = Field(default=45.0, gt=0, le=300)  # a call that nobody takes is given up
    # In a variable as JSON: {"carrier": {"enabled": true, ...}}
    trunks: Annotated[dict[str, OutboundRules], BeforeValidator(_json)] = Field(default={})

    @model_validator(mode="after")
    def _named(self) -> Self:
        for name in self.trunks:
            if not _TRUNK.fullmatch(name) or name == DEFAULT_TRUNK:
                raise ValueError(f"trunks has {name!r}; write up to 40 of a-z 0-9 . _ -, not `default`")
        return self


@dataclass(frozen=True, slots=True)
class Wish:
    """A call that somebody wants."""

    purpose: Purpose
    to: str  # untrusted
    trunk: str = DEFAULT_TRUNK
    caller_id: str = ""  # empty: the trunk's first
    holds_line: bool = True  # False: others place and pay it, by our REFER


@dataclass(frozen=True, slots=True)
class Route:
    """How a wish would be dialled."""

    uri: str
    caller_id: str  # empty: the account's own address
    host: str
    account: str = ""  # the trunk of the trunks' file that it goes by; empty: as ourselves

    @property
    def shown(self) -> str:
        """The SIP address that the far end is shown; empty: the account's own."""
        if not self.caller_id:
            return ""
        host = self.host or self.uri.rpartition("@")[2].partition(";")[0].removeprefix("sip:")
        return f"sip:{self.caller_id}@{host}"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a trunk has done so far, by all gateways."""

    last_minute: int = 0
    live: int = 0
    calls_today: int = 0
    seconds_today: float = 0.0  # what live calls may still take is in it


class OutboundPolicy:
    """Says of each wish whether it may be, and for how long."""

    def __init__(self, settings: OutboundSettings, own_targets: Callable[[], Iterable[str]] = tuple) -> None:
        """`own_targets` tells where the operator's configuration puts callers now; transfers may go there."""
        self._rules: Mapping[str, OutboundRules] = {DEFAULT_TRUNK: settings, **settings.trunks}
        self._own_targets = own_targets

    def rules(self, wish: Wish) -> OutboundRules:
        """The rules that a wish falls under. Raises OutboundRefused for an unknown trunk.

        A caller who came by a trunk without rules of its own is handed over by the default's.
        """
        return self._rules[self.counted_as(wish)]

    def counted_as(self, wish: Wish) -> str:
        """The trunk whose rules and figures a wish falls under; whoever names another gets no fresh figures.

        Raises OutboundRefused as `rules`.
        """
        if wish.trunk in self._rules:
            return wish.trunk
        if wish.purpose is Purpose.TRANSFER:
            return DEFAULT_TRUNK
        raise OutboundRefused(Refusal.UNKNOWN_TRUNK)

    def route(self, wish: Wish) -> Route:
        """Who would be called, as whom. Raises OutboundRefused."""
        rules = self.rules(wish)
        if wish.purpose is not Purpose.TRANSFER and not rules.enabled:
            raise OutboundRefused(Refusal.OFF)
        uri = self._destination(wish, rules)
        caller_id = wish.caller_id or (rules.caller_ids[0] if rules.caller_ids else "")
        if caller_id and caller_id not in rules.caller_ids:
            raise OutboundRefused(Refusal.NOT_OUR_NUMBER)
        account = wish.trunk if wish.trunk != DEFAULT_TRUNK else ""
        return Route(uri, caller_id, rules.host, account)

    def allot(self, wish: Wish, usage: Usage) -> float:
        """The seconds that such a call may last, given what has been. Raises OutboundRefused."""
        rules = self.rules(wish)
        left_s = rules.minutes_per_day * 60 - usage.seconds_today
        broken = (
            (usage.calls_today >= rules.calls_per_day, Refusal.DAY_CALLS),
            (usage.last_minute >= rules.calls_per_minute, Refusal.TOO_FAST),
            (wish.holds_line and usage.live >= rules.max_concurrent, Refusal.TOO_MANY),
            (wish.holds_line and left_s < 1, Refusal.DAY_MINUTES),
        )
        for is_broken, refusal in broken:
            if is_broken:
                raise OutboundRefused(refusal)
        return min(rules.max_duration_s, left_s) if wish.holds_line else 0.0

    def _destination(self, wish: Wish, rules: OutboundRules) -> str:
        """The SIP address to call. Raises OutboundRefused."""
        text = wish.to.strip()
        own = (
            {_plain(target) for target in self._own_targets()} if wish.purpose is Purpose.TRANSFER else set()
        )
        if _plain(text) in own or _plain(text) in {_plain(target) for target in rules.targets}:
            return _callable(text, rules.host)
        number, host = _number_in(text)
        if host and host.lower() != rules.host.lower():
            raise OutboundRefused(Refusal.NOT_ALLOWED)
        if not number.startswith(rules.prefixes) or number.startswith(rules.denied_prefixes):
            raise OutboundRefused(Refusal.NOT_ALLOWED)
        return f"sip:{number}@{rules.host}"


def _number_in(text: str) -> tuple[str, str]:
    """The number that a text dials, and the host that it names, if it does. Raises OutboundRefused."""
    found = _URI.fullmatch(text)
    if found is not None:
        if found["parameters"] not in (None, ";user=phone"):
            raise OutboundRefused(Refusal.NO_DESTINATION)
        number, host = found["user"], found["host"]
    else:
        number, host = text.removeprefix("tel:"), ""
    number = number.translate(_VISUAL)
    if not _NUMBER.fullmatch(number):
        # An address with a name: allowed only if it is listed.
        is_address = found is not None and re.fullmatch(r"[A-Za-z0-9_.+-]+", number) is not None
        raise OutboundRefused(Refusal.NOT_ALLOWED if is_address else Refusal.NO_DESTINATION)
    return number, host


def _callable(text: str, host: str) -> str:
    """A listed address as it is; a listed telephone number at the trunk's host."""
    if text.startswith("tel:"):
        number, _ = _number_in(text)
        return f"sip:{number}@{host}" if host else text
    try:
        return checked_uri(text)
    except BadUri:
        raise OutboundRefused(Refusal.NO_DESTINATION) from None


def _plain(uri: str) -> str:
    """An address as it is compared: the host's letters count for nothing (RFC 3261 section 19.1.4)."""
    user, at, host = uri.strip().rpartition("@")
    return f"{user}{at}{host.lower()}"
