"""The outbound policy: what may be dialled, by every trick that a number can be written with."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.outbound import (
    OutboundPolicy,
    OutboundRefused,
    OutboundRules,
    OutboundSettings,
    Purpose,
    Refusal,
    Route,
    Usage,
    Wish,
)

DESK = "sip:desk@192.0.2.7"
RULES = OutboundSettings(
    enabled=True,
    host="sip.carrier.example",
    prefixes=("+4930", "+4989"),
    denied_prefixes=("+4930900",),
    targets=("sip:Front.Desk@PBX.example:5070",),
    caller_ids=("+49301110", "+49301111"),
    calls_per_minute=3,
    max_concurrent=2,
    max_duration_s=600,
    calls_per_day=10,
    minutes_per_day=30,
    trunks={"internal": OutboundRules(targets=("sip:ops@10.0.0.1",))},
)
POLICY = OutboundPolicy(RULES, lambda: (DESK,))


def refusal_of(wish: Wish, usage: Usage | None = None) -> Refusal | None:
    try:
        POLICY.route(wish)
        POLICY.allot(wish, usage or Usage())
    except OutboundRefused as error:
        return error.refusal
    return None


@pytest.mark.parametrize(
    "to", ["+4930123456", "tel:+49-30-123-456", "+49 (30) 123.456", "sip:+4930123456@SIP.carrier.example"]
)
def test_however_an_allowed_number_is_written_the_same_address_is_dialled(to: str) -> None:
    route = POLICY.route(Wish(Purpose.DIAL, to))
    assert route.uri == "sip:+4930123456@sip.carrier.example"
    assert route.caller_id == "+49301110"  # the first is ours to show


@pytest.mark.parametrize(
    ("to", "refusal"),
    [
        ("+4930900123", Refusal.NOT_ALLOWED),  # under an allowed prefix, and denied
        ("+18095550100", Refusal.NOT_ALLOWED),
        ("004930123456", Refusal.NOT_ALLOWED),  # not as the rules write it
        ("4930123456", Refusal.NOT_ALLOWED),
        ("sip:+4930123456@evil.example", Refusal.NOT_ALLOWED),
        ("sip:+4930123456@sip.carrier.example;maddr=203.0.113.9", Refusal.NO_DESTINATION),
        ("sip:+4930123456;phone-context=evil@sip.carrier.example", Refusal.NO_DESTINATION),
        ("tel:+4930123456;ext=99", Refusal.NO_DESTINATION),
        ("+4930123456,,,99", Refusal.NO_DESTINATION),
        ("+4930%31%32", Refusal.NO_DESTINATION),
        ("+4930\u0661\u0662\u0663", Refusal.NO_DESTINATION),  # digits of another script
        ("+4930\n123456", Refusal.NO_DESTINATION),
        ("sip:+4930123456@sip.carrier.example\r\nX: y", Refusal.NO_DESTINATION),
        ("sip:+4930123456@sip.carrier.example@evil.example", Refusal.NO_DESTINATION),
        ("sips:+4930123456@sip.carrier.example", Refusal.NO_DESTINATION),
        ("sip:somebody@pbx.example", Refusal.NOT_ALLOWED),
        ("", Refusal.NO_DESTINATION),
        ("+", Refusal.NO_DESTINATION),
        (DESK, Refusal.NOT_ALLOWED),  # for transfers only
    ],
)
def test_everything_else_is_refused(to: str, refusal: Refusal) -> None:
    assert refusal_of(Wish(Purpose.DIAL, to)) is refusal


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_whatever_passes_begins_with_an_allowed_prefix_at_our_carrier(text: str) -> None:
    try:
        uri = POLICY.route(Wish(Purpose.DIAL, text)).uri
    except OutboundRefused:
        return
    assert uri.startswith(("sip:+4930", "sip:+4989")) and uri.endswith("@sip.carrier.example")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["+4930", "+4989", "sip:+4930"]), st.text("0123456789-() @;:%.ae", max_size=20))
def test_an_allowed_beginning_lets_nothing_else_through(beginning: str, rest: str) -> None:
    try:
        uri = POLICY.route(Wish(Purpose.DIAL, beginning + rest)).uri
    except OutboundRefused:
        return
    number = uri.removeprefix("sip:").removesuffix("@sip.carrier.example")
    assert number[1:].isdecimal() and number.isascii() and not number.startswith("+4930900")


def test_listed_addresses_may_be_called_and_the_operators_own_only_by_transfers() -> None:
    listed = "sip:Front.Desk@pbx.EXAMPLE:5070"
    assert refusal_of(Wish(Purpose.DIAL, listed)) is None
    assert refusal_of(Wish(Purpose.DIAL, "sip:front.desk@pbx.example:5070")) is Refusal.NOT_ALLOWED
    assert POLICY.route(Wish(Purpose.TRANSFER, DESK)).uri == DESK


def test_by_default_nothing_leaves_but_a_transfer_to_where_the_operator_said() -> None:
    policy = OutboundPolicy(OutboundSettings(), lambda: (DESK,))
    for purpose in Purpose:
        with pytest.raises(OutboundRefused):
            policy.route(Wish(purpose, "+4930123456"))
    assert policy.route(Wish(Purpose.TRANSFER, DESK)).uri == DESK


def test_each_trunk_has_its_own_rules() -> None:
    assert refusal_of(Wish(Purpose.TRANSFER, "sip:ops@10.0.0.1", "internal")) is None
    assert refusal_of(Wish(Purpose.DIAL, "sip:ops@10.0.0.1", "internal")) is Refusal.OFF
    assert refusal_of(Wish(Purpose.DIAL, "+4930123456", "nowhere")) is Refusal.UNKNOWN_TRUNK
    assert POLICY.route(Wish(Purpose.TRANSFER, "sip:ops@10.0.0.1", "internal")).account == "internal"
    assert POLICY.route(Wish(Purpose.DIAL, "+4930123456")).account == "", "as ourselves"


def test_a_caller_of_a_trunk_without_rules_is_handed_over_by_it_under_the_defaults() -> None:
    assert refusal_of(Wish(Purpose.TRANSFER, "+4930900123", "pbx")) is Refusal.NOT_ALLOWED
    assert POLICY.route(Wish(Purpose.TRANSFER, DESK, "pbx")).account == "pbx"


def test_a_number_is_shown_at_the_trunks_host_or_else_at_whom_we_call() -> None:
    targets = ("sip:desk@192.0.2.7:5080;transport=tcp", "sip:192.0.2.8")
    policy = OutboundPolicy(OutboundSettings(enabled=True, targets=targets, caller_ids=("+49301110",)))
    wishes = (Wish(Purpose.DIAL, to) for to in targets)
    shown = [policy.route(wish).shown for wish in wishes]
    assert shown == ["sip:+49301110@192.0.2.7:5080", "sip:+49301110@192.0.2.8"]
    assert Route("sip:a@b", "", "carrier.example").shown == ""
    assert Route("sip:a@b", "+491", "carrier.example").shown == "sip:+491@carrier.example"


def test_only_numbers_that_are_ours_are_shown() -> None:
    assert POLICY.route(Wish(Purpose.DIAL, "+49301", caller_id="+49301111")).caller_id == "+49301111"
    wish = Wish(Purpose.DIAL, "+4930123456", caller_id="+49110")
    assert refusal_of(wish) is Refusal.NOT_OUR_NUMBER


@pytest.mark.parametrize(
    ("usage", "refusal"),
    [
        (Usage(last_minute=2, live=1, calls_today=9, seconds_today=1000), None),
        (Usage(last_minute=3), Refusal.TOO_FAST),
        (Usage(live=2), Refusal.TOO_MANY),
        (Usage(calls_today=10), Refusal.DAY_CALLS),
        (Usage(seconds_today=1799.5), Refusal.DAY_MINUTES),
    ],
)
def test_rate_lines_and_the_days_caps(usage: Usage, refusal: Refusal | None) -> None:
    assert refusal_of(Wish(Purpose.DIAL, "+4930123456"), usage) is refusal


def test_a_call_may_last_as_long_as_the_day_has_minutes() -> None:
    wish = Wish(Purpose.DIAL, "+4930123456")
    assert POLICY.allot(wish, Usage()) == 600
    assert POLICY.allot(wish, Usage(seconds_today=1500)) == 300


def test_a_transfer_that_others_carry_takes_no_line_but_counts() -> None:
    wish = Wish(Purpose.TRANSFER, DESK, holds_line=False)
    assert POLICY.allot(wish, Usage(live=2, seconds_today=1800)) == 0
    with pytest.raises(OutboundRefused, match="last minute"):
        POLICY.allot(wish, Usage(last_minute=3))


def test_what_is_lasting_is_told_from_what_passes() -> None:
    assert Refusal.NOT_ALLOWED.is_lasting and not Refusal.TOO_FAST.is_lasting


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"prefixes": ("+49x",), "host": "a"}, "write digits"),
        ({"prefixes": ("+49",)}, "set host"),
        ({"host": "a b"}, "no host"),
        ({"targets": ("desk",)}, "not a SIP address"),
        ({"trunks": {"default": {}}}, "not `default`"),
        ({"trunks": "{"}, "Expecting"),
    ],
)
def test_settings_that_cannot_work_say_so(given_: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        OutboundSettings.model_validate(given_)
