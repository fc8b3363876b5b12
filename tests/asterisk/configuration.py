"""Asterisk's configuration files and, for each line, the trunk of ours that meets it. No I/O here.

A line is one endpoint at Asterisk under the name that we register by. All paths are inside Asterisk's root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

OUR_SECRET, THEIR_SECRET, THEIR_USER = "secret-of-offhook", "secret-of-asterisk", "asterisk"
ENVIRON: Final = MappingProxyType({"OURS": OUR_SECRET, "THEIRS": THEIR_SECRET})
# No other channel, nothing that listens beside SIP.
MODULES: Final = (
    "app_chanspy app_dial app_echo app_milliwatt app_mixmonitor app_read app_senddtmf app_transfer "
    "app_verbose bridge_builtin_features bridge_simple chan_bridge_media chan_pjsip codec_alaw codec_g722 "
    "codec_opus_open_source codec_resample codec_ulaw format_pcm format_wav func_channel func_cut "
    "func_groupcount func_periodic_hook func_uri pbx_config res_clioriginate res_crypto "
    "res_format_attr_opus res_musiconhold res_pjproject res_pjsip "
    "res_pjsip_authenticator_digest res_pjsip_caller_id res_pjsip_dlg_options res_pjsip_dtmf_info "
    "res_pjsip_endpoint_identifier_user res_pjsip_logger res_pjsip_nat "
    "res_pjsip_outbound_authenticator_digest res_pjsip_pubsub res_pjsip_refer res_pjsip_registrar "
    "res_pjsip_rfc3326 res_pjsip_sdp_rtp res_pjsip_session res_rtp_asterisk res_sorcery_astdb "
    "res_sorcery_config res_sorcery_memory res_srtp res_timing_timerfd"
).split()


@dataclass(frozen=True, slots=True)
class Place:
    """Where in its root an Asterisk keeps its files, and where it listens on 127.0.0.1."""

    home: str
    udp: int
    tls: int
    rtp_min: int = 36_000
    rtp_max: int = 36_399


@dataclass(frozen=True, slots=True)
class Line:
    """One endpoint there, one trunk here."""

    name: str
    codec: str = "PCMU"  # as telephony.settings names it
    endpoint: Mapping[str, str] = field(default_factory=dict)  # beside what every endpoint has
    trunk: Mapping[str, Any] = field(default_factory=dict)  # beside what every trunk has
    is_tls: bool = False


CODECS: Final = {"PCMU": "ulaw", "PCMA": "alaw", "G722": "g722", "opus": "opus"}
TIMERS: Final = {"timers": "always", "timers_min_se": "90", "timers_sess_expires": "90"}
DTLS: Final = {
    "media_encryption": "dtls",
    "dtls_auto_generate_cert": "yes",
    "dtls_verify": "fingerprint",
    "dtls_setup": "actpass",
}
LINES: Final = (
    Line("pcmu", "PCMU"),
    Line("pcma", "PCMA"),
    Line("g722", "G722"),
    Line("opus", "opus"),
    Line(
        "sdes",
        endpoint={"media_encryption": "sdes", "transport": "tls"},
        trunk={"transport": "tls", "srtp": "required", "srtp_keying": ["sdes"]},
        is_tls=True,
    ),
    Line("dtls", endpoint=DTLS, trunk={"srtp": "required", "srtp_keying": ["dtls"]}),
    Line("info", endpoint={"dtmf_mode": "info"}),
    Line("inband", endpoint={"dtmf_mode": "inband"}, trunk={"dtmf": ["inband"]}),
    Line("hold", endpoint={"moh_passthrough": "yes"}),
    Line("timer", endpoint=TIMERS, trunk={"session_timer": {"use": "ask", "expires_s": 90, "min_s": 90}}),
)


def line_named(name: str) -> Line:
    """The line of that name."""
    return next(line for line in LINES if line.name == name)


def trunk_of(line: Line, place: Place) -> dict[str, Any]:
    """What `telephony.trunks.Trunk` is made of, with the secrets of `ENVIRON`: it registers at Asterisk."""
    return {
        "peers": ["127.0.0.0/8"],
        "servers": [address(line, place)],
        "user": line.name,
        "domain": "127.0.0.1",
        "credentials": {"user": line.name, "password": {"env": "OURS"}},
        "callers": [{"user": THEIR_USER, "password": {"env": "THEIRS"}}],
        "registration": {"expires_s": 300},
        **line.trunk,
    }


def address(line: Line, place: Place) -> str:
    """Where this line's SIP goes."""
    return f"127.0.0.1:{place.tls if line.is_tls else place.udp}"


def uri(extension: str, line: Line, place: Place) -> str:
    """How an extension is called by this line."""
    way = ";transport=tls" if line.is_tls else ""
    return f"sip:{extension}@{address(line, place)}{way}"


def files(place: Place) -> dict[str, str]:
    """Every file of Asterisk's configuration folder by its name."""
    return {
        "asterisk.conf": _section("directories", _folders(place), arrow="=>"),
        "modules.conf": _modules(),
        "logger.conf": _section("logfiles", {"journal": "notice,warning,error"}, arrow="=>"),
        "rtp.conf": _section("general", {"rtpstart": str(place.rtp_min), "rtpend": str(place.rtp_max)}),
        "pjsip.conf": _pjsip(place),
        "extensions.conf": _extensions(place),
        "musiconhold.conf": "",
    }


def _folders(place: Place) -> dict[str, str]:
    own = {"etc": "etc", "db": "state", "key": "state", "spool": "spool", "run": "run", "log": "log"}
    given = {
        "astmoddir": "/usr/lib/x86_64-linux-gnu/asterisk/modules",
        "astvarlibdir": "/var/lib/asterisk",
        "astdatadir": "/usr/share/asterisk",
        "astagidir": "/usr/share/asterisk/agi-bin",
    }
    return {f"ast{name}dir": f"{place.home}/{folder}" for name, folder in own.items()} | given


def _section(name: str, options: Mapping[str, str], arrow: str = "=") -> str:
    return "\n".join([f"[{name}]", *(f"{key} {arrow} {value}" for key, value in options.items()), ""])


def _modules() -> str:
    return "\n".join(["[modules]", "autoload = no", *(f"load = {name}.so" for name in MODULES), ""])


def _pjsip(place: Place) -> str:
    tls = {
        "cert_file": f"{place.home}/tls/asterisk.crt",
        "priv_key_file": f"{place.home}/tls/asterisk.key",
        "ca_list_file": f"{place.home}/tls/authority.pem",
        "verify_server": "yes",
        "verify_client": "yes",
        "require_client_cert": "yes",
        "method": "tlsv1_2",
    }
    listens = {"type": "transport", "bind": f"127.0.0.1:{place.udp}", "protocol": "udp"}
    listens_tls = {"type": "transport", "bind": f"127.0.0.1:{place.tls}", "protocol": "tls", **tls}
    sections = [
        # Every line comes from one address: only the name tells them apart.
        _section("global", {"type": "global", "endpoint_identifier_order": "username,auth_username"}),
        _section("udp", listens),
        _section("tls", listens_tls),
        _section("theirs", _digest(THEIR_USER, THEIR_SECRET)),
    ]
    for line in LINES:
        sections.append(_section(line.name, _endpoint(line)))
        sections.append(_section(f"{line.name}-ours", _digest(line.name, OUR_SECRET)))
        sections.append(_section(line.name, {"type": "aor", "max_contacts": "1", "remove_existing": "yes"}))
    return "\n".join(sections)


def _digest(user: str, secret: str) -> dict[str, str]:
    return {"type": "auth", "auth_type": "digest", "username": user, "password": secret}


def _endpoint(line: Line) -> dict[str, str]:
    return {
        "type": "endpoint",
        "context": "offhook",
        "disallow": "all",
        "allow": CODECS[line.codec],
        "direct_media": "no",
        "media_address": "127.0.0.1",
        "bind_rtp_to_media_address": "yes",
        "aors": line.name,
        "auth": f"{line.name}-ours",
        "outbound_auth": "theirs",
        **line.endpoint,
    }


def _extensions(place: Place) -> str:
    """What may be called there: the name says what it does, `journal` holds what it has to tell."""
    recorded = f"MixMonitor({place.home}/heard/desk-both.wav,r({place.home}/heard/desk.wav))"
    steps = {
        "echo": ["Echo()"],
        "tone": ["Milliwatt()"],
        "desk": [recorded, "Milliwatt()"],
        "digits": ["Wait(1)", "SendDTMF(159*,150,120)", "Wait(1)", "Hangup()"],
        "read": ["Read(pressed,,4,,1,8)", "Log(NOTICE,@read ${pressed})", "Hangup()"],
        "refer-us": [
            "Wait(1)",
            f"Transfer(PJSIP/sip:tone@127.0.0.1:{place.udp})",
            "Log(NOTICE,@transfer ${TRANSFERSTATUS})",
            "Echo()",
        ],
    }
    lines = ["[offhook]"]
    for name, applications in steps.items():
        numbered = [f"exten => {name},1,Answer()", *(f" same => n,{one}" for one in applications)]
        lines += [*numbered, ""]
    # Two of our calls on one bridge of theirs: the caller's, and the agent's.
    return "\n".join([*lines, "exten => bridge,1,Dial(PJSIP/hold,20)", ""])
