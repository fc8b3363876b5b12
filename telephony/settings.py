"""What an operator may set about SIP and RTP: frozen, checked once, every refusal with its remedy."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from telephony.errors import SettingsError
from telephony.gate_settings import GateSettings
from telephony.trunks import cidr_of

CODECS = ("PCMU", "PCMA", "G722", "opus")
TRANSPORTS = ("udp", "tcp", "tls")
PTIME_MS = 20  # the bridge's clock, and the packet time that every carrier accepts
# RFC 7064 and 7065, as far as the ICE library follows them.
ICE_SERVER = re.compile(
    r"stun:[^\s?:]+(:\d{1,5})?|turn:[^\s?:]+(:\d{1,5})?(\?transport=(udp|tcp))?"
    r"|turns:[^\s?:]+(:\d{1,5})?\?transport=tcp"
)
MAX_CALLS = 1024  # the native library is built with this limit


@dataclass(frozen=True, slots=True)
class JitterSettings:
    """The jitter buffer of each call; every millisecond here is a millisecond the caller waits.

    It starts at `prefetch_ms`, follows the network between `min_ms` and `max_ms`, and drops what is older.
    """

    prefetch_ms: int = 20
    min_ms: int = 20
    max_ms: int = 200

    def __post_init__(self) -> None:
        for name in ("prefetch_ms", "min_ms", "max_ms"):
            value = getattr(self, name)
            if value % PTIME_MS or not 0 <= value <= 1000:
                raise SettingsError(
                    f"jitter {name}={value} is not a multiple of {PTIME_MS} ms between 0 and 1000; "
                    f"choose for example {PTIME_MS * max(1, round(min(value, 1000) / PTIME_MS))}"
                )
        if not self.min_ms <= self.prefetch_ms <= self.max_ms:
            raise SettingsError(
                f"jitter figures must satisfy min_ms <= prefetch_ms <= max_ms, but are "
                f"{self.min_ms}, {self.prefetch_ms}, {self.max_ms}; the defaults 20, 20, 200 suit a LAN"
            )


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """SIP over TLS 1.2 or later: who we are, and whom we believe.

    Servers that we connect to are always verified, by their names too; callers' certificates are asked for,
    refused when they are wrong, and needed if `client_certificates`.
    """

    port: int = 5061
    certificate: Path | None = None  # PEM, with what stands between it and its authority
    key: Path | None = None  # PEM, without a pass phrase
    authorities: Path = Path("/etc/ssl/certs/ca-certificates.crt")  # PEM, whose certificates are believed
    client_certificates: bool = False  # nobody calls by TLS without one

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise SettingsError(f"tls port={self.port} is not a port number; SIP's own is 5061")
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("tls certificate and key go together; set both, or neither")

    def check_files(self) -> None:
        """Raises SettingsError for a file that cannot be read: the library would not say which."""
        if self.certificate is None or self.key is None:
            raise SettingsError(
                "transports has tls, which needs tls certificate and tls key; name two PEM files"
            )
        for name, path in (
            ("certificate", self.certificate),
            ("key", self.key),
            ("authorities", self.authorities),
        ):
            try:
                with path.open("rb") as file:
                    file.read(1)
            except OSError as error:
                raise SettingsError(
                    f"tls {name}={path} cannot be read ({error.strerror}); name a readable PEM file"
                ) from None


@dataclass(frozen=True, slots=True)
class SipSettings:
    """Where we listen, how many calls we take, what we speak, and who may call.

    Without `allowed_peers`, `open_peers` and a `trunks_file`, which has peers of its own, only loopback is
    heard, and no other `bind_address` is taken.
    """

    bind_address: str = "127.0.0.1"
    port: int = 5060
    transports: tuple[str, ...] = ("udp", "tcp")
    rtp_port_min: int = 20_000
    rtp_port_max: int = 29_999
    max_calls: int = 64
    codecs: tuple[str, ...] = ("G722", "PCMU", "PCMA")  # best first
    allowed_peers: tuple[str, ...] = ()  # CIDRs, e.g. 192.0.2.0/24
    trunks_file: Path | None = None  # YAML: trunks, their peers, and what answers on which number
    open_peers: tuple[str, ...] = ()  # CIDRs of unknown callers: see GateSettings
    retry_after_s: int = 5  # what a refused caller is told when no slot is free
    outbound_enabled: bool = False  # placing calls is for the test caller; off for users
    jitter: JitterSettings = field(default_factory=JitterSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    public_address: str = (
        ""  # ours as the world sees it, behind a NAT that keeps ports; a trunk may have another
    )
    stun_servers: tuple[str, ...] = ()  # host or host:port, that tell our public address; tried in this order

    def __post_init__(self) -> None:
        self._check_ports()
        self._check_choice("transports", self.transports, TRANSPORTS)
        self._check_choice("codecs", self.codecs, CODECS)
        if not 1 <= self.max_calls <= MAX_CALLS:
            raise SettingsError(
                f"max_calls={self.max_calls} is outside 1..{MAX_CALLS}; run more gateways instead"
            )
        if not 1 <= self.retry_after_s <= 3600:
            raise SettingsError(f"retry_after_s={self.retry_after_s} is outside 1..3600; 5 is usual")
        self._check_peers()
        self._check_nat()

    def _check_nat(self) -> None:
        if self.public_address:
            try:
                ipaddress.ip_address(self.public_address)
            except ValueError:
                raise SettingsError(
                    f"public_address={self.public_address!r} is not an IP address; "
                    "give the one that trunks see"
                ) from None
        for server in self.stun_servers:
            if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d{1,5})?", server):
                raise SettingsError(
                    f"stun_servers has {server!r}; write stun.example.org or stun.example.org:3478"
                )
        if self.public_address and self.stun_servers:
            raise SettingsError("public_address and stun_servers are both set; keep one")

    def _check_ports(self) -> None:
        if not 0 <= self.port <= 65_535:  # 0: any free port, for tests
            raise SettingsError(f"port={self.port} is not a port number; SIP's own is 5060")
        low, high = self.rtp_port_min, self.rtp_port_max
        if not 1024 <= low < high <= 65_535:
            raise SettingsError(
                f"rtp_port_min={low} and rtp_port_max={high} span no range within 1024..65535; "
                "the defaults are 20000 and 29999"
            )
        if high - low + 1 < 2 * self.max_calls:
            raise SettingsError(
                f"{high - low + 1} RTP ports do not serve max_calls={self.max_calls}: each call takes "
                "two (RTP, RTCP); lower max_calls or raise rtp_port_max to at least "
                f"{low + 2 * self.max_calls - 1}"
            )

    @staticmethod
    def _check_choice(name: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
        unknown = [item for item in given if item not in known]
        if unknown or not given or len(set(given)) != len(given):
            wrong = f"does not know {', '.join(unknown)}" if unknown else "is empty or names one twice"
            raise SettingsError(f"{name}={','.join(given) or '()'} {wrong}; choose from {', '.join(known)}")

    def _check_peers(self) -> None:
        for name in ("allowed_peers", "open_peers"):
            for cidr in getattr(self, name):
                _check_network(name, cidr)
        try:
            address = ipaddress.ip_address(self.bind_address)
        except ValueError:
            raise SettingsError(
                f"bind_address={self.bind_address!r} is not an IP address; "
                "give this machine's own, or 127.0.0.1"
            ) from None
        is_anybody_named = self.allowed_peers or self.open_peers or self.trunks_file is not None
        if not address.is_loopback and not is_anybody_named:
            raise SettingsError(
                f"bind_address={self.bind_address} is reachable from outside, but allowed_peers is empty; "
                "list the trunks and phones that may call, e.g. 192.0.2.0/24, name a trunks_file, "
                "or bind to 127.0.0.1"
            )


@dataclass(frozen=True, slots=True)
class WebRtcSettings:
    """Calls from browsers and other WebRTC peers.

    `ice_servers` are STUN and TURN URIs (RFC 7064, RFC 7065), one of each kind at most; without any we offer
    this machine's own addresses, which serves browsers here and on the same network.
    """

    enabled: bool = True
    max_calls: int = 32
    ice_servers: tuple[str, ...] = ()  # stun:stun.example.org:3478, turn:turn.example.org?transport=udp
    turn_username: str = ""
    turn_password: SecretStr | None = None
    connect_timeout_s: float = 20.0  # a peer that is not connected by then is dropped

    def __post_init__(self) -> None:
        if not 1 <= self.max_calls <= MAX_CALLS:
            raise SettingsError(
                f"max_calls={self.max_calls} is outside 1..{MAX_CALLS}; run more gateways instead"
            )
        if not 1 <= self.connect_timeout_s <= 120:
            raise SettingsError(f"connect_timeout_s={self.connect_timeout_s} is outside 1..120; 20 is usual")
        for uri in self.ice_servers:
            if not ICE_SERVER.fullmatch(uri):
                raise SettingsError(
                    f"ice_servers has {uri!r}; write stun:host:3478, turn:host:3478?transport=udp "
                    "or turns:host:5349?transport=tcp"
                )
        for scheme in ("stun:", "turn"):
            if sum(uri.startswith(scheme) for uri in self.ice_servers) > 1:
                raise SettingsError(f"ice_servers names more than one {scheme.rstrip(':')} server; keep one")
        has_turn = any(uri.startswith("turn") for uri in self.ice_servers)
        if has_turn and not (self.turn_username and self.turn_password):
            raise SettingsError("a TURN server needs turn_username and turn_password; set both")


def _check_network(name: str, cidr: str) -> None:
    try:
        cidr_of(cidr)
    except ValueError as error:
        raise SettingsError(
            f"{name} has {cidr!r}, which is not a network ({error}); "
            "write it like 192.0.2.0/24 or 192.0.2.7/32"
        ) from None
