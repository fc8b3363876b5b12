"""What a trunk may say, and which trunk a source belongs to."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from telephony.trunks import MAX_SECRET_BYTES, PeerMap, Trunk, networks

PEER = {"peers": ("192.0.2.0/24",)}


def trunk(context: dict[str, Any] | None = None, **values: Any) -> Trunk:
    return Trunk.model_validate(PEER | values, context=context)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"peers": ("192.0.2.7/24",)}, "host bits set.*write 192.0.2.0/24 or 192.0.2.7/32"),
        ({"peers": ()}, "neither peers.*nor servers.*add one"),
        ({"servers": ("sip:here",)}, "'sip:here' is no server; write sip.example.net"),
        ({"servers": ("here:70000",)}, "is no server"),
        ({"registration": {}}, "registration needs servers"),
        ({"registration": {"expires_s": 30}, "servers": ("a.example",)}, "greater than or equal to 60"),
        ({"srtp": "required"}, "SDES would travel readable over udp; set transport: tls, or"),
        ({"session_timer": {"expires_s": 90, "min_s": 120}}, "expires_s=90 is below min_s=120"),
        ({"headers": ("Via",)}, "Via steers the call"),
        ({"headers": ("X Y",)}, "no header's name; write it like X-Account"),
        ({"public_address": "home.example"}, "is no IP address"),
        ({"realm": 'x"y'}, "String should match"),
        ({"callers": ({"user": "a", "password": "hush"},)}, "a secret does not stand in this file; write"),
        ({"callers": ({"user": "a", "password": {"env": "NOT_SET"}},)}, "the variable NOT_SET is not set"),
        ({"callers": ({"user": "a", "password": {"file": "/no/such"}},)}, "cannot be read .No such file"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        trunk(**values)


def test_networks_are_kept_as_the_gate_reads_them() -> None:
    written = ("192.0.2.7", "10.0.0.0/255.0.0.0", "2001:db8::1")
    assert trunk(peers=written).peers == ("192.0.2.7/32", "10.0.0.0/8", "2001:db8::1/128")
    with pytest.raises(ValidationError, match="an interface cannot be named"):
        trunk(peers=("fe80::1%eth0/128",))


def test_secrets_come_from_files_and_variables_and_show_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from-the-file\n")
    made = trunk(
        {"environ": {"CARRIER_PASSWORD": "from-the-variable"}},
        credentials={"user": "us", "password": {"env": "CARRIER_PASSWORD"}},
        callers=({"user": "them", "password": {"file": str(file)}},),
    )
    assert made.credentials is not None
    assert made.credentials.password.get_secret_value() == "from-the-variable"
    assert made.secrets_by_user == {"them": "from-the-file"}
    assert "from-the" not in repr(made)
    file.write_text("x" * (MAX_SECRET_BYTES + 1))
    with pytest.raises(ValidationError, match="empty or longer"):
        trunk(callers=({"user": "them", "password": {"file": str(file)}},))
    with pytest.raises(ValidationError, match="twice"):
        trunk(
            {"environ": {"P": "x"}},
            callers=({"user": "a", "password": {"env": "P"}}, {"user": "a", "password": {"env": "P"}}),
        )


def test_srtp_may_be_had_by_dtls_in_the_open_and_by_sdes_over_tls() -> None:
    assert trunk(srtp="required", srtp_keying=("dtls",)).srtp == "required"
    assert trunk(srtp="optional", transport="tls").srtp_keying == ("sdes", "dtls")


def test_addresses_at_a_trunk_name_its_transport() -> None:
    made = trunk(servers=("a.example:5080", "b.example"), user="1000")
    assert made.uri("a.example:5080", "order") == "sip:order@a.example:5080"
    assert made.scheme_host == "a.example:5080"
    secure = trunk(servers=("a.example",), transport="tls", domain="pbx.example")
    assert secure.uri("a.example") == "sip:a.example;transport=tls"
    assert secure.scheme_host == "pbx.example"


def test_only_listed_headers_pass_and_without_control_characters() -> None:
    made = trunk(headers=("X-Account", "X-Long"))
    invite = {"x-account": "7\r\nEvil: yes", "x-long": "x" * 2000, "x-other": "no"}
    assert made.passed_headers(invite) == {"x-account": "7Evil: yes", "x-long": "x" * 1024}


def test_the_smallest_network_that_holds_a_source_names_its_trunk() -> None:
    wide, narrow = trunk(peers=("192.0.2.0/24", "2001:db8::/32")), trunk(peers=("192.0.2.7/32",))
    peers = PeerMap({"wide": wide, "narrow": narrow})
    assert peers.trunk_of("192.0.2.7") == "narrow"
    assert peers.trunk_of("192.0.2.8") == "wide"
    assert peers.trunk_of("[2001:db8::1]") == "wide"
    assert peers.trunk_of("::ffff:192.0.2.7") == "narrow"
    assert peers.trunk_of("198.51.100.1") is None
    assert peers.trunk_of("nonsense") is None
    assert networks([wide, narrow]) == ("192.0.2.0/24", "2001:db8::/32", "192.0.2.7/32")
