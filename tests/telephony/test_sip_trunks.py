"""What the library is told of a trunk; calls and registrations are in tests/loopback/test_trunks.py."""

from typing import Any

import offhook_pjsua2 as pj
import pytest

from telephony.settings import SipSettings
from telephony.sip_trunks import CallAccount, account_config, registrar_config, retry_after_s
from telephony.trunks import Trunk

SETTINGS = SipSettings(port=5080)


def trunk(**values: Any) -> Trunk:
    return Trunk.model_validate(
        {"servers": ["a.example", "b.example:5070"]} | values, context={"environ": {"P": "x"}}
    )


def test_calls_of_a_trunk_are_protected_and_timed_as_it_says() -> None:
    made = trunk(
        transport="tls",
        user="1000",
        srtp="required",
        srtp_keying=["dtls", "sdes"],
        session_timer={"use": "require", "expires_s": 600, "min_s": 120},
        prack="required",
        credentials={"user": "1000", "password": {"env": "P"}, "realm": "carrier"},
    )
    config = account_config(SETTINGS, made)
    assert config.idUri == "sip:1000@a.example"
    assert config.mediaConfig.srtpUse == pj.PJMEDIA_SRTP_MANDATORY
    keyings = [pj.PJMEDIA_SRTP_KEYING_DTLS_SRTP, pj.PJMEDIA_SRTP_KEYING_SDES]
    assert list(config.mediaConfig.srtpOpt.keyings) == keyings
    assert config.callConfig.timerUse == pj.PJSUA_SIP_TIMER_REQUIRED
    assert (config.callConfig.timerSessExpiresSec, config.callConfig.timerMinSESec) == (600, 120)
    assert config.callConfig.prackUse == pj.PJSUA_100REL_MANDATORY
    (known,) = config.sipConfig.authCreds
    assert (known.username, known.realm, known.data) == ("1000", "carrier", "x")
    assert config.regConfig.registrarUri == "", "calls do not register"


@pytest.mark.parametrize(
    ("transport", "target", "called"),
    [
        ("udp", "sip:1@a.example", "sip:1@a.example"),
        ("tls", "sip:1@a.example", "sip:1@a.example;transport=tls"),
        ("tls", "sip:1@a.example;transport=tcp", "sip:1@a.example;transport=tcp"),
    ],
)
def test_calls_leave_by_the_trunks_transport(transport: str, target: str, called: str) -> None:
    account = CallAccount("a", trunk(transport=transport), lambda *_: None)
    assert account.uri(target) == called


def test_a_registration_goes_to_one_server_and_refreshes_in_time_to_move_on() -> None:
    config = registrar_config(SETTINGS, trunk(registration={"expires_s": 300}, transport="tcp"), 1)
    assert config.regConfig.registrarUri == "sip:b.example:5070;transport=tcp"
    assert config.regConfig.timeoutSec == 300
    assert config.regConfig.delayBeforeRefreshSec > 32, "a transaction fails after 32 s"
    assert config.regConfig.retryIntervalSec == 0


@pytest.mark.parametrize(
    ("settings", "own", "contact", "media"),
    [
        (SETTINGS, None, "", ""),
        (SipSettings(port=5080, public_address="198.51.100.1"), None, "", "198.51.100.1"),
        (SETTINGS, "198.51.100.2", "<sip:offhook@198.51.100.2:5080>", "198.51.100.2"),
        (SETTINGS, "2001:db8::1", "<sip:offhook@[2001:db8::1]:5080>", "2001:db8::1"),
    ],
)
def test_behind_a_nat_the_trunk_is_told_where_it_reaches_us(
    settings: SipSettings, own: str | None, contact: str, media: str
) -> None:
    config = account_config(settings, trunk(public_address=own))
    assert config.sipConfig.contactForced == contact
    assert config.mediaConfig.transportConfig.publicAddress == media


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("SIP/2.0 503 No\r\nRetry-After: 30 (soon);duration=9\r\n\r\n", 30),
        ("SIP/2.0 503 No\r\nRETRY-AFTER :7\r\n\r\n", 7),
        ("SIP/2.0 503 No\r\nRetry-After: later\r\n\r\n", None),
        ("SIP/2.0 503 No\r\n\r\nRetry-After: 5\r\n", None),
        ("", None),
    ],
)
def test_a_wait_that_is_asked_for_is_read(message: str, seconds: int | None) -> None:
    assert retry_after_s(message) == seconds
