import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.errors import BadUri
from telephony.sip_uri import called_user, checked_uri


@pytest.mark.parametrize(
    "text",
    [
        "sip:order@127.0.0.1",
        "sip:127.0.0.1:5070",
        "SIP:+491234@example.org;transport=tcp",
        "sip:a.b-c@[::1]:5060;lr",
    ],
)
def test_addresses_pass_unchanged(text: str) -> None:
    assert checked_uri(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("order", "not of the form"),
        ("sips:order@127.0.0.1", "scheme 'sips'"),
        ("tel:112", "scheme 'tel'"),
        ("sip:order@127.0.0.1:99999", "99999 is not a port"),
        ("sip:order@127.0.0.1:0", "0 is not a port"),
        ("<sip:order@127.0.0.1>", "not of the form"),
        ("sip:order@127.0.0.1?Replaces=x", "not of the form"),
        ("sip:order@127.0.0.1\r\nX-Evil: 1", "not of the form"),
        ("sip:" + "a" * 300 + "@h", "longer than 255"),
    ],
)
def test_what_is_no_sip_address_is_refused_by_reason(text: str, reason: str) -> None:
    with pytest.raises(BadUri, match=reason):
        checked_uri(text)


@given(st.text(max_size=300))
def test_only_our_error_comes_out_and_no_line_break_passes(text: str) -> None:
    try:
        passed = checked_uri(text)
    except BadUri:
        return
    assert not set("\r\n <>") & set(passed)


@pytest.mark.parametrize(
    ("uri", "user"),
    [
        ("sip:order@192.0.2.7;x=y", "order"),
        ("sips:+15550100;phone-context=x@192.0.2.7", "+15550100"),
        ("sip:+49-30-123@192.0.2.1", "+4930123"),
        ("sip:+49(30)123;ext=7@192.0.2.1;user=phone", "+4930123"),
        ("tel:+49-30-123;phone-context=x", "+4930123"),
        ("sips:%6frder@host", "order"),
        ("sip:or-der@host", "or-der"),
        ("sip:192.0.2.7", ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_the_called_user_is_read_from_any_uri(uri: str, user: str) -> None:
    assert called_user(uri) == user
