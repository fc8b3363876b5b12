"""Settings that cannot work are refused with cause and remedy."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from telephony.errors import SettingsError
from telephony.settings import JitterSettings, SipSettings, TlsSettings, WebRtcSettings
from telephony.webrtc_peer import ice_servers


def test_the_defaults_are_the_documented_ones() -> None:
    settings = SipSettings()
    assert (settings.bind_address, settings.port) == ("127.0.0.1", 5060)
    assert (settings.rtp_port_min, settings.rtp_port_max) == (20_000, 29_999)
    assert settings.transports == ("udp", "tcp")
    assert not settings.outbound_enabled


@pytest.mark.parametrize(
    ("change", "cause", "remedy"),
    [
        ({"port": 70_000}, "port=70000", "5060"),
        ({"rtp_port_min": 30_000}, "rtp_port_min=30000", "20000 and 29999"),
        ({"rtp_port_max": 20_010}, "11 RTP ports", "at least 20127"),
        ({"max_calls": 0}, "max_calls=0", "1..1024"),
        ({"max_calls": 1025}, "max_calls=1025", "more gateways"),
        ({"retry_after_s": 0}, "retry_after_s=0", "5 is usual"),
        ({"codecs": ("PCMU", "GSM")}, "does not know GSM", "G722"),
        ({"codecs": ()}, "empty", "PCMU"),
        ({"codecs": ("PCMU", "PCMU")}, "names one twice", "choose from"),
        ({"transports": ("sctp",)}, "sctp", "udp, tcp, tls"),
        ({"bind_address": "localhost"}, "not an IP address", "127.0.0.1"),
        ({"bind_address": "0.0.0.0"}, "allowed_peers is empty", "192.0.2.0/24"),
        ({"allowed_peers": ("192.0.2.1/24",)}, "not a network", "192.0.2.0/24"),
    ],
)
def test_what_cannot_work_names_cause_and_remedy(change: dict[str, Any], cause: str, remedy: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SipSettings(**change)
    assert cause in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    "figures", [{"prefetch_ms": 30}, {"max_ms": 1020}, {"min_ms": 60}, {"prefetch_ms": 300}, {"min_ms": -20}]
)
def test_jitter_figures_are_whole_packets_in_order(figures: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        JitterSettings(**figures)


def test_webrtc_asks_no_stranger_unless_told() -> None:
    assert WebRtcSettings().ice_servers == () and ice_servers(WebRtcSettings()) == []
    settings = WebRtcSettings(
        ice_servers=("stun:192.0.2.1:3478", "turn:turn.example.org?transport=tcp"),
        turn_username="u",
        turn_password=SecretStr("very secret"),
    )
    stun, turn = ice_servers(settings)
    assert (stun.urls, turn.urls) == settings.ice_servers
    assert (turn.username, turn.credential, stun.credential) == ("u", "very secret", None)
    assert "very secret" not in repr(settings)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"max_calls": 0}, "1..1024"),
        ({"connect_timeout_s": 0.1}, "1..120"),
        ({"ice_servers": ("http://x",)}, "stun:host:3478"),
        ({"ice_servers": ("turns:x",)}, "transport=tcp"),  # the ICE library would leave it out in silence
        ({"ice_servers": ("stun:a", "stun:b")}, "more than one"),
        ({"ice_servers": ("turn:a",)}, "turn_username"),
    ],
)
def test_webrtc_settings_that_cannot_work_are_refused(change: dict[str, Any], cause: str) -> None:
    with pytest.raises(SettingsError) as caught:
        WebRtcSettings(**change)
    assert cause in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"public_address": "home.example"}, "is not an IP address; give the one that trunks see"),
        ({"stun_servers": ("stun:x",)}, "stun_servers has 'stun:x'; write stun.example.org"),
        ({"public_address": "192.0.2.1", "stun_servers": ("a.example",)}, "both set; keep one"),
    ],
)
def test_nat_settings_that_cannot_work_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        SipSettings(**values)


def test_a_trunks_file_may_say_who_calls_from_outside() -> None:
    path = Path("trunks.yaml")
    assert SipSettings(bind_address="192.0.2.1", trunks_file=path).trunks_file == path
    with pytest.raises(SettingsError, match="reachable from outside"):
        SipSettings(bind_address="192.0.2.1")


def test_tls_needs_a_certificate_with_its_key() -> None:
    with pytest.raises(SettingsError, match="certificate and key go together; set both, or neither"):
        TlsSettings(certificate=Path("a.pem"))
    with pytest.raises(SettingsError, match="70000 is not a port number; SIP's own is 5061"):
        TlsSettings(port=70_000)
    with pytest.raises(SettingsError, match="transports has tls, which needs tls certificate and tls key"):
        TlsSettings().check_files()
