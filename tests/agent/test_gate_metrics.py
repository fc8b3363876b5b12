from agent import metrics
from agent.gate_metrics import GateMetrics
from telephony.sip_gate import GateCounts


def value(name: str, **labels: str) -> float:
    """A metric's present value."""
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def test_totals_become_counters_and_what_is_now_becomes_gauges() -> None:
    reasons = {reason: value("offhook_sip_kept_out_total", reason=reason) for reason in metrics.GATE_REASONS}
    forged = value("offhook_rtp_foreign_packets_total")
    gate = GateMetrics()
    gate.observe(GateCounts(foreign=3, bans=1, banned_now=1, foreign_rtp_packets=10, ports_resting=4))
    gate.observe(GateCounts(foreign=5, bans=1, banned_now=0, foreign_rtp_packets=10, ports_resting=2))
    grown = {
        reason: value("offhook_sip_kept_out_total", reason=reason) - before
        for reason, before in reasons.items()
    }
    assert grown == {reason: 5 if reason == "foreign" else 0 for reason in metrics.GATE_REASONS}
    assert value("offhook_rtp_foreign_packets_total") - forged == 10
    assert (value("offhook_sip_banned_sources"), value("offhook_rtp_ports_resting")) == (0, 2)
