"""What an operator may set about unfriendly traffic: limits of sources, connections and RTP ports."""

from dataclasses import dataclass

from telephony.errors import SettingsError

# (lowest, highest, usual) of each setting.
RANGES = {
    "max_message_bytes": (1000, 8192, 8192),
    "max_headers": (20, 500, 100),
    "peer_requests_per_s": (1, 100_000, 200),
    "open_requests_per_s": (0.1, 10_000, 2),
    "open_total_per_s": (1, 100_000, 50),
    "strikes": (1, 1000, 5),
    "strike_window_s": (1, 86_400, 600),
    "ban_s": (1, 2_592_000, 3600),
    "max_connections": (1, 1500, 512),
    "max_connections_per_source": (1, 1500, 32),
    "message_timeout_s": (1, 600, 10),
    "rtp_learn_ms": (0, 10_000, 500),
    "rtp_port_rest_s": (0, 3600, 30),
}
BURST_S = 5  # a source that was quiet may send what its rate allows in so long, at once


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What sources of SIP and RTP may do before they are refused, forgotten or banned.

    A peer is a source in `allowed_peers` or among a trunk's peers: it is held to a rate, and told 503 beyond
    it, but never banned, because over UDP anybody can forge its address. A source in `open_peers` that is no
    peer is held to a lower rate, answered only about calls, and banned for `ban_s` after `strikes` within
    `strike_window_s`. Nobody else is heard.
    """

    max_message_bytes: int = 8192  # of one SIP message
    max_headers: int = 100
    peer_requests_per_s: float = 200.0  # new ones (outside a call) of one peer, in the long run
    open_requests_per_s: float = 2.0  # likewise of one open source
    open_total_per_s: float = 50.0  # of all open sources together
    strikes: int = 5
    strike_window_s: int = 600
    ban_s: int = 3600
    max_connections: int = 512  # TCP and TLS, to us
    max_connections_per_source: int = 32
    message_timeout_s: int = 10  # a connection's first message, and the rest of each, must be here by then
    rtp_learn_ms: int = (
        500  # from the first RTP packet on, a better source than the one heard may take its place
    )
    rtp_port_rest_s: int = 30  # a call's RTP ports are not used again for so long

    def __post_init__(self) -> None:
        for name, (low, high, usual) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsError(f"gate {name}={value} is outside {low}..{high}; {usual} is usual")
        if self.max_connections_per_source > self.max_connections:
            raise SettingsError(
                f"gate max_connections_per_source={self.max_connections_per_source} exceeds "
                f"max_connections={self.max_connections}; one source could take them all: lower it"
            )
