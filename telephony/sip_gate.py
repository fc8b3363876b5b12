"""The native gate's Python face: whom it hears, its limits as it takes them, and what it has counted.

All but `gate_counts` belongs to the sip thread.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import offhook_pjsua2 as pj

from telephony.gate_settings import BURST_S, GateSettings
from telephony.settings import SipSettings
from telephony.trunks import Trunk, cidr_of, networks

LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class GateCounts:
    """What became of unfriendly traffic since the gateway began; what is not said to be of now only grows."""

    foreign: int = 0  # SIP messages and connections of sources that are in no list
    banned: int = 0  # likewise of banned ones
    oversize: int = 0  # messages over the limits of size or headers
    malformed: int = 0  # what is no SIP
    unwanted: int = 0  # requests of open sources that belong to no call
    rate_limited: int = 0  # requests over a source's rate
    refused_full: int = 0  # 503 with Retry-After, told before a call was made
    bans: int = 0
    banned_now: int = 0  # sources, now
    connections: int = 0  # to the SIP port, now
    connections_refused: int = 0  # over a limit
    connections_timed_out: int = 0  # ended: they sent no whole message in time
    foreign_rtp_packets: int = 0  # RTP and RTCP of sources that no call is locked to
    ports_resting: int = 0  # pairs of RTP ports, now


def gate_counts() -> GateCounts:
    """The present figures; any thread."""
    counts = pj.gateCounts()
    return GateCounts(**{field.name: getattr(counts, field.name) for field in fields(GateCounts)})


def gate_limits(settings: GateSettings, num_port_pairs: int) -> pj.GateLimits:
    """The settings as the native gate takes them."""
    limits = pj.GateLimits()
    for name in (
        "max_message_bytes",
        "max_headers",
        "peer_requests_per_s",
        "open_requests_per_s",
        "open_total_per_s",
        "strikes",
        "strike_window_s",
        "ban_s",
        "max_connections",
        "max_connections_per_source",
        "message_timeout_s",
        "rtp_learn_ms",
        "rtp_port_rest_s",
    ):
        setattr(limits, name, getattr(settings, name))
    limits.peer_burst = max(1.0, BURST_S * settings.peer_requests_per_s)
    limits.open_burst = max(1.0, BURST_S * settings.open_requests_per_s)
    limits.rtp_port_pairs = num_port_pairs
    return limits


def gate_networks(settings: SipSettings, trunks: Iterable[Trunk]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The networks of peers, and of unknown callers; where neither is named, loopback is the peer.

    What a trunk and `open_peers` both name stays open: its callers are known by what they prove, and who
    fails to is banned.
    """
    unknown = tuple(cidr_of(text) for text in settings.open_peers)
    allowed = (cidr_of(text) for text in settings.allowed_peers)
    of_trunks = (network for network in networks(trunks) if network not in unknown)
    peers = tuple(dict.fromkeys((*allowed, *of_trunks)))
    return peers if peers or unknown else LOOPBACK, unknown


def open_gate(settings: SipSettings, trunks: Iterable[Trunk]) -> None:
    """Let these in and nobody else. Once per library life, before the first transport."""
    peers, unknown = gate_networks(settings, trunks)
    num_pairs = (settings.rtp_port_max - settings.rtp_port_min + 1) // 2
    limits = gate_limits(settings.gate, num_pairs)
    pj.openGate(pj.StringVector(list(peers)), pj.StringVector(list(unknown)), limits)
    pj.setFull(False, settings.retry_after_s)


def set_networks(settings: SipSettings, trunks: Iterable[Trunk]) -> None:
    """Let these in from now on; live calls of others end by timeout alone."""
    peers, unknown = gate_networks(settings, trunks)
    pj.setNetworks(pj.StringVector(list(peers)), pj.StringVector(list(unknown)))
