"""Who may come in, as whom they are answered, and what they hear otherwise."""

from typing import Any, cast

import pytest

from agent import metrics
from agent.call_door import CallDoor, host_of
from agent.dial_plan import CallPlan
from agent.errors import EndReason
from agent.settings import Settings
from model.control import CallProfile
from telephony.call_limits import CallLimitSettings
from telephony.endpoint import IncomingCall
from tests.agent.test_gateway import Book, Invite

SETTINGS = Settings()
PLAIN = CallPlan("", "", SETTINGS.agent, CallProfile(voice="tone"), SETTINGS.call)


def a_door(limits: CallLimitSettings | None = None, **tree: Any) -> CallDoor:
    settings = Settings(limits=limits or CallLimitSettings())
    return CallDoor(settings, PLAIN, cast(Any, Book(**tree)) if tree else None)


def knock(door: CallDoor, call_id: str, **about: str) -> tuple[CallPlan | None, Any]:
    """The plan, and how the caller was refused."""
    invite = Invite(None)
    for name, value in about.items():
        setattr(invite, name, value)
    return door.enter(call_id, cast(IncomingCall, invite)), invite.rejected


def count(reason: EndReason) -> float:
    labels = {"direction": "inbound", "transport": "sip", "result": reason.value}
    return metrics.REGISTRY.get_sample_value("offhook_calls_total", labels) or 0.0


@pytest.mark.parametrize(
    ("limits", "refusal", "reason"),
    [
        (CallLimitSettings(calls_per_line=1), (486, None), EndReason.LINE_FULL),
        (CallLimitSettings(calls_per_source=1), (503, {"Retry-After": "5"}), EndReason.OVER_LIMIT),
        (CallLimitSettings(new_calls_per_source_s=0.01), (503, {"Retry-After": "5"}), EndReason.OVER_LIMIT),
    ],
)
def test_a_cap_refuses_the_second_call_until_the_first_is_over(
    limits: CallLimitSettings, refusal: Any, reason: EndReason
) -> None:
    door, before = a_door(limits), count(reason)
    assert knock(door, "first") == (PLAIN, None)
    assert knock(door, "second") == (None, refusal)
    door.leave("second")
    door.leave("first")
    is_rate = limits.new_calls_per_source_s > 0
    assert (knock(door, "third")[0] is None) == is_rate
    assert count(reason) == before + 1 + is_rate


def test_a_host_of_ipv6_does_not_get_a_fresh_allowance_with_each_of_its_addresses() -> None:
    door = a_door(CallLimitSettings(calls_per_source=1))
    assert knock(door, "a", source="2001:db8::1", called="sip:a@x")[1] is None
    assert knock(door, "b", source="2001:db8::2:3", called="sip:b@x")[0] is None
    assert knock(door, "c", source="2001:db8:0:1::1", called="sip:c@x")[1] is None
    assert knock(door, "d", source="192.0.2.1", called="sip:d@x")[1] is None
    assert knock(door, "e", source="192.0.2.2", called="sip:e@x")[1] is None
    assert [host_of(one) for one in ("::ffff:192.0.2.1", "nowhere")] == ["::ffff:192.0.2.1", "nowhere"]


def test_a_full_line_or_trunk_is_busy_and_others_are_not() -> None:
    door = a_door(
        trunks={"carrier": {"peers": ["192.0.2.0/24"], "max_calls": 1}},
        lines=[{"called": "order", "max_calls": 1}, {"called": "*"}],
    )
    assert knock(door, "a")[1] is None
    assert knock(door, "b", called="sip:order@x")[1] == (486, None)
    assert knock(door, "c", called="sip:other@x", trunk="carrier")[1] is None
    assert knock(door, "d", called="sip:other@x", trunk="carrier")[1] == (486, None)
    assert knock(door, "e", called="sip:other@x")[1] is None, "the trunk is full, not the line"


def test_calls_of_ours_count_among_their_trunks() -> None:
    carrier, other = {"peers": ["192.0.2.0/24"], "max_calls": 2}, {"peers": ["::1/128"]}
    door = a_door(trunks={"carrier": carrier, "b": other})
    assert knock(door, "a", trunk="carrier")[1] is None
    assert door.enter_out("b", "carrier") and not door.enter_out("c", "carrier")
    assert knock(door, "d", trunk="carrier")[1] == (486, None)
    door.leave("b")
    assert knock(door, "e", trunk="carrier")[1] is None
    assert door.enter_out("f", "") and door.enter_out("g", "b"), "no cap"


def test_a_cap_that_a_reload_sets_counts_the_calls_that_live() -> None:
    book = Book(trunks={"carrier": {"peers": ["192.0.2.0/24"]}})
    door = CallDoor(Settings(), PLAIN, cast(Any, book))
    assert knock(door, "a", trunk="carrier")[1] is None
    book.plan = Book(trunks={"carrier": {"peers": ["192.0.2.0/24"], "max_calls": 1}}).plan
    assert knock(door, "b", trunk="carrier")[1] == (486, None)


def test_a_line_without_a_cap_of_its_own_has_that_of_every_line() -> None:
    door = a_door(CallLimitSettings(calls_per_line=1), lines=[{"called": "+49*"}, {"called": "*"}])
    assert knock(door, "a", called="sip:+4930@x")[1] is None
    assert knock(door, "b", called="sip:+4940@x")[1] == (486, None), "one line, whatever was dialled"
    assert knock(door, "c")[1] is None


def test_nobody_is_called_that_here_and_the_source_pays_for_asking() -> None:
    door = a_door(CallLimitSettings(new_calls_per_source_s=0.1), lines=[{"called": "order"}])
    before = count(EndReason.UNKNOWN_LINE)
    assert knock(door, "a", called="sip:1000@x")[1] == (404, None)
    assert knock(door, "b", called="sip:1001@x")[1] == (503, {"Retry-After": "5"})
    assert count(EndReason.UNKNOWN_LINE) == before + 1


def test_calls_from_browsers_have_no_line() -> None:
    door = a_door(lines=[{"called": "order"}])
    assert knock(door, "a", transport="webrtc", called="", source="") == (PLAIN, None)


def test_headers_pass_only_where_their_trunk_says_so() -> None:
    door = a_door(trunks={"carrier": {"peers": ["192.0.2.0/24"], "headers": ["X-Account"]}})
    invite = Invite(None)
    invite.headers = {"x-account": "7", "x-other": "8"}
    assert door.passed_headers(cast(IncomingCall, invite)) == {}
    invite.trunk = "carrier"
    assert door.passed_headers(cast(IncomingCall, invite)) == {"x-account": "7"}
