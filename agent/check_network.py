"""Of `offhook check`: ports, peers and trunks. Each function looks, and changes nothing that outlives it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

from agent.dial_plan_file import read_plan
from agent.errors import ConfigError
from agent.findings import Finding, Level
from agent.outbound import DEFAULT_TRUNK
from agent.settings import Settings
from telephony.errors import SettingsError
from telephony.trunks import Trunk

EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def ports(settings: Settings) -> Iterator[Finding]:
    """Whether those that we listen on are free."""
    sip, http = settings.sip, settings.http
    plain = [one for one in sip.transports if one != "tls"]
    wanted = [(sip.bind_address, sip.port, transport, "OFFHOOK_SIP__PORT") for transport in plain]
    if "tls" in sip.transports:
        wanted.append((sip.bind_address, sip.tls.port, "tcp", "OFFHOOK_SIP__TLS__PORT"))
    wanted.append((http.bind_address, http.port, "tcp", "OFFHOOK_HTTP__PORT"))
    if http.metrics_port is not None:
        wanted.append((http.bind_address, http.metrics_port, "tcp", "OFFHOOK_HTTP__METRICS_PORT"))
    for address, port, transport, variable in wanted:
        cause = _why_not_bindable(address, port, transport)
        if cause is None:
            yield Finding(Level.OK, f"{transport.upper()} port {port} on {address} is free")
        else:
            remedy = f"stop what listens there (`ss -lnp 'sport = :{port}'`) or set {variable}"
            yield Finding(Level.PROBLEM, f"{transport.upper()} port {port} on {address}: {cause}", remedy)


def _why_not_bindable(address: str, port: int, transport: str) -> str | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM) as probe:
        if transport != "udp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closing connection is no obstacle
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.strerror
    return None


def rtp_range(settings: Settings) -> Iterator[Finding]:
    """Whether the kernel gives our RTP ports to others."""
    low, high = settings.sip.rtp_port_min, settings.sip.rtp_port_max
    with contextlib.suppress(OSError, ValueError):
        first, last = map(int, EPHEMERAL_PORTS.read_text(encoding="ascii").split())
        if first <= high and low <= last:
            remedy = "choose other OFFHOOK_SIP__RTP_PORT_MIN and _MAX, or reserve them by sysctl"
            what = f"RTP ports {low}-{high} overlap the kernel's own {first}-{last}"
            yield Finding(Level.NOTE, what, remedy)
            return
    yield Finding(Level.OK, f"RTP ports {low}-{high}, {settings.sip.max_calls} calls at most")


def peers(settings: Settings) -> Iterator[Finding]:
    """Whether anybody at all may call or ask."""
    for section, listed in (("SIP", settings.sip.allowed_peers), ("HTTP", settings.http.allowed_peers)):
        for cidr in listed:
            if cidr.endswith("/0"):
                remedy = f"list your own networks in OFFHOOK_{section}__ALLOWED_PEERS"
                if section == "SIP":  # a peer is never banned
                    remedy += ", and those of unknown callers in OFFHOOK_SIP__OPEN_PEERS"
                yield Finding(Level.NOTE, f"{section} answers the whole world ({cidr})", remedy)


def trunks(settings: Settings) -> Iterator[Finding]:
    """The trunks' file and what it needs."""
    path = settings.sip.trunks_file
    if "tls" in settings.sip.transports:
        try:
            settings.sip.tls.check_files()
        except SettingsError as error:
            yield Finding(Level.PROBLEM, str(error), "see OFFHOOK_SIP__TLS__*")
    if path is None:
        yield from _known_trunks(settings, ())
        return
    try:
        tree = read_plan(path, os.environ)
    except ConfigError as error:
        for fault in str(error).splitlines():
            yield Finding(Level.PROBLEM, fault, "mend the file; `serve` refuses to start with it")
        return
    yield Finding(Level.OK, f"{len(tree.trunks)} trunks and {len(tree.lines)} lines in {path}")
    yield from _known_trunks(settings, tree.trunks)
    for name, trunk in tree.trunks.items():
        yield from _of_trunk(name, trunk, settings)


def _of_trunk(name: str, trunk: Trunk, settings: Settings) -> Iterator[Finding]:
    """What one trunk needs, and what it may not mean."""
    sip = settings.sip
    if trunk.transport not in sip.transports:
        remedy = f"add {trunk.transport} to OFFHOOK_SIP__TRANSPORTS"
        yield Finding(Level.PROBLEM, f"trunk {name} wants {trunk.transport}, which is off", remedy)
    if trunk.registration is not None and not trunk.peers:
        remedy = "list the networks that its calls come from in peers"
        yield Finding(Level.NOTE, f"trunk {name} registers but names no peers: no call is its own", remedy)
    if settings.recording.opt_out_digit and trunk.peers and "inband" not in trunk.dtmf:
        remedy = "add inband to its dtmf"
        yield Finding(Level.NOTE, f"trunk {name}: digits that come as tones cannot refuse recording", remedy)
    whole_world = [one for one in trunk.peers if one.endswith("/0")]
    if whole_world and not trunk.callers:
        remedy = "list its networks in peers, or name its callers"
        yield Finding(Level.NOTE, f"trunk {name} answers the whole world, unproved", remedy)
    elif not set(whole_world) <= set(sip.open_peers):
        remedy = f"add {', '.join(whole_world)} to OFFHOOK_SIP__OPEN_PEERS: then guessing leads to a ban"
        yield Finding(Level.NOTE, f"trunk {name} lets the whole world guess its callers' secrets", remedy)


def _known_trunks(settings: Settings, known: Collection[str]) -> Iterator[Finding]:
    """Calls leave by the trunks of the trunks' file, whose names the outbound rules use."""
    for name in settings.outbound.trunks:
        if name not in known:
            remedy = "name a trunk of OFFHOOK_SIP__TRUNKS_FILE in OFFHOOK_OUTBOUND__TRUNKS"
            yield Finding(Level.PROBLEM, f"no trunk {name} is known: no call leaves by it", remedy)


def outbound(settings: Settings) -> Iterator[Finding]:
    """A prefix that allows more than it seems to."""
    for name, rules in {DEFAULT_TRUNK: settings.outbound, **settings.outbound.trunks}.items():
        if "0" in rules.prefixes and not {"0", "00"} & set(rules.denied_prefixes):
            remedy = "add 00 to denied_prefixes, or write longer prefixes"
            yield Finding(Level.NOTE, f"by trunk {name} the prefix 0 allows 00, which leads abroad", remedy)
