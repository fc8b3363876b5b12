"""What the SIP gate has counted, as Prometheus sees it."""

from __future__ import annotations

from agent import metrics
from telephony.sip_gate import GateCounts


class GateMetrics:
    """Turns the gate's running totals into counters. Event loop only."""

    def __init__(self) -> None:
        self._seen = GateCounts()

    def observe(self, counts: GateCounts) -> None:
        """Add what has come since the last call; gauges take the present value."""
        for reason in metrics.GATE_REASONS:
            came = getattr(counts, reason) - getattr(self._seen, reason)
            metrics.SIP_KEPT_OUT.labels(reason).inc(came)
        metrics.SIP_BANS.inc(counts.bans - self._seen.bans)
        metrics.RTP_FOREIGN.inc(counts.foreign_rtp_packets - self._seen.foreign_rtp_packets)
        metrics.SIP_BANNED_SOURCES.set(counts.banned_now)
        metrics.SIP_CONNECTIONS.set(counts.connections)
        metrics.RTP_PORTS_RESTING.set(counts.ports_resting)
        self._seen = counts
