"""The pure part of a call; its life is tested with real calls in test_sip.py."""

from types import SimpleNamespace
from typing import Any

import offhook_pjsua2 as pj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.sip_call import headers_of, retry_after_s

REFUSAL = (
    "SIP/2.0 503 Service Unavailable\r\nVia: SIP/2.0/UDP a\r\nVIA: SIP/2.0/UDP b\r\n"
    "Subject: one\r\n two\r\nRetry-After: {}\r\n\r\nbody: no header\r\n"
)


def test_headers_are_lower_case_joined_and_unfolded() -> None:
    assert headers_of(REFUSAL.format(7)) == {
        "via": "SIP/2.0/UDP a, SIP/2.0/UDP b",
        "subject": "one two",
        "retry-after": "7",
    }


@given(st.text())
def test_any_text_has_headers_or_none(text: str) -> None:
    assert all(name == name.strip().lower() for name in headers_of(text))


def state_change(message: str, is_received: bool = True) -> Any:
    """A callback's parameters as PJSIP fills them."""
    source = SimpleNamespace(rdata=SimpleNamespace(wholeMsg=message))
    kind = pj.PJSIP_EVENT_RX_MSG if is_received else pj.PJSIP_EVENT_TIMER
    change = SimpleNamespace(type=kind, src=source)
    return SimpleNamespace(
        e=SimpleNamespace(type=pj.PJSIP_EVENT_TSX_STATE, body=SimpleNamespace(tsxState=change))
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("18000;duration=3600", 18000), ("120 (in a meeting)", 120), ("soon", None), ("-1", None)],
)
def test_retry_after_is_read_from_the_refusal(value: str, seconds: int | None) -> None:
    assert retry_after_s(state_change(REFUSAL.format(value))) == seconds


def test_a_call_that_timed_out_names_no_time_to_retry() -> None:
    assert retry_after_s(state_change(REFUSAL.format(7), is_received=False)) is None
