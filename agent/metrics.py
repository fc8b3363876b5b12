"""Every Prometheus metric of the gateway, in one place; whoever causes the event observes it here.

Laws: base units in names, labels few and closed, never a call id or a number as a label (records, logs and
sidecars carry those). Workers run no HTTP: what they count reaches the gateway over their stream and is
observed here, so one scrape target tells all. `tests/deploy/test_manifests.py` holds the dashboard to these
names.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from agent.errors import EndReason

TRANSPORTS = ("sip", "webrtc")
REGISTRY = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)  # memory, file descriptors, CPU seconds: leaks show here first
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

# ---- calls ----
CALLS_ACTIVE = Gauge(
    "offhook_calls_active",
    "Calls that hold a session now.",
    labelnames=("direction", "transport"),
    registry=REGISTRY,
)
CALLS = Counter(
    "offhook_calls",
    "Ended or refused calls; `result` is an EndReason.",
    labelnames=("direction", "transport", "result"),  # inbound, outbound; sip, webrtc
    registry=REGISTRY,
)
CALL_SETUP_SECONDS = Histogram(
    "offhook_call_setup_seconds",
    "INVITE or offer received to audio flowing.",
    labelnames=("transport",),
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
CALL_DURATION_SECONDS = Histogram(
    "offhook_call_duration_seconds",
    "Answer to end.",
    labelnames=("direction", "transport"),
    buckets=(1, 10, 30, 60, 120, 300, 600, 1800, 3600),
    registry=REGISTRY,
)

# ---- conversation ----
RESPONSE_GAP_SECONDS = Histogram(
    "offhook_response_gap_seconds",
    "Caller's last voiced sample to the agent's first, once per turn; an early start counts as 0.",
    labelnames=("transport",),
    # Fine around the bars we are judged by: 0.5 s at the median, 0.8 s at the 95th percentile.
    buckets=(
        0.1,
        0.2,
        0.25,
        0.3,
        0.35,
        0.4,
        0.45,
        0.5,
        0.55,
        0.6,
        0.65,
        0.7,
        0.75,
        0.8,
        0.85,
        0.9,
        1,
        1.25,
        1.5,
        2,
        3,
        5,
    ),
    registry=REGISTRY,
)
BARGE_IN_STOP_SECONDS = Histogram(
    "offhook_barge_in_stop_seconds",
    "Caller's onset during agent speech to the agent's last voiced sample.",
    # Fine around 0.6 s (the bar at the median) and closed by 2 s (later counts as not yielding).
    buckets=(0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 3, 5),
    registry=REGISTRY,
)

DELEGATIONS = Counter(
    "offhook_delegations",
    "Questions that the model passed on; `result` is a DelegateResult.",
    labelnames=("result",),
    registry=REGISTRY,
)
DELEGATION_SECONDS = Histogram(
    "offhook_delegation_seconds",
    "A question passed on to its answer, the operator's or the fallback.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 10, 20, 60),
    registry=REGISTRY,
)

# ---- bridge ----
BRIDGE_DELAY_SECONDS = Histogram(
    "offhook_bridge_delay_seconds",
    "up: packet with a frame's last sample to worker's collect; down: deliver to the first packet.",
    labelnames=("direction",),  # up, down; the 80 ms fill of a frame is not in it
    buckets=(
        0.005,
        0.01,
        0.015,
        0.02,
        0.025,
        0.03,
        0.035,
        0.04,
        0.045,
        0.05,
        0.055,
        0.06,
        0.065,
        0.07,
        0.08,
        0.1,
        0.16,
        0.32,
    ),
    registry=REGISTRY,
)
PLAYOUT_UNDERRUNS = Counter(
    "offhook_playout_underruns", "Times a call had nothing to play and sent silence.", registry=REGISTRY
)
PLAYOUT_DROPPED_FRAMES = Counter(
    "offhook_playout_dropped_frames", "Agent frames that came too late to be played.", registry=REGISTRY
)

# ---- workers ----
WORKER_TICK_SECONDS = Histogram(
    "offhook_worker_tick_seconds",
    "collect -> step -> deliver, once per 80 ms tick.",
    labelnames=("worker",),
    buckets=(
        0.005,
        0.01,
        0.015,
        0.02,
        0.025,
        0.03,
        0.035,
        0.04,
        0.05,
        0.06,
        0.07,
        0.08,
        0.1,
        0.16,
        0.32,
        0.64,
    ),
    registry=REGISTRY,
)
WORKER_DEADLINE_MISSES = Counter(
    "offhook_worker_deadline_misses",
    "Ticks that were not done when the next was due.",
    labelnames=("worker",),
    registry=REGISTRY,
)
WORKER_DROPPED_FRAMES = Counter(
    "offhook_worker_dropped_frames",
    "Caller frames the worker threw away so that lag does not accumulate.",
    labelnames=("worker",),
    registry=REGISTRY,
)
WORKER_RESTARTS = Counter(
    "offhook_worker_restarts",
    "Times the pool started a worker again.",
    labelnames=("worker",),
    registry=REGISTRY,
)
WORKER_SLOTS = Gauge(
    "offhook_worker_slots",
    "Calls a worker can hold at once, as it says.",
    labelnames=("worker",),
    registry=REGISTRY,
)
WORKER_SLOTS_USED = Gauge(
    "offhook_worker_slots_used", "Calls a worker holds now.", labelnames=("worker",), registry=REGISTRY
)

WORKER_STEP_P99_SECONDS = Gauge(
    "offhook_worker_calibrated_p99_seconds",
    "Step time at the 99th percentile when every slot was in a long call, as measured once; 0: not measured.",
    labelnames=("worker",),
    registry=REGISTRY,
)

# ---- network ----
RTP_PACKETS = Counter(
    "offhook_rtp_packets",
    "RTP packets, lost ones not included.",
    labelnames=("direction",),
    registry=REGISTRY,
)
RTP_LOST = Counter(
    "offhook_rtp_lost",
    "RTP packets lost: in, by our receiver; out, by the peer's reports.",
    labelnames=("direction",),  # in, out
    registry=REGISTRY,
)
RTP_JITTER_SECONDS = Histogram(
    "offhook_rtp_jitter_seconds",
    "Interarrival jitter (RFC 3550 section 6.4.1) of a call, sampled while it lives.",
    labelnames=("direction",),
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2),
    registry=REGISTRY,
)
MOS = Histogram(
    "offhook_mos",
    "Listening quality of a call by the E-model (ITU-T G.107) from loss, jitter and delay, once at its end.",
    buckets=(1.5, 2, 2.6, 3.1, 3.6, 3.8, 4, 4.1, 4.2, 4.3, 4.4, 4.5),
    registry=REGISTRY,
)

# ---- store ----
REDIS_UP = Gauge(
    "offhook_redis_up", "1 while Redis answers, else 0; calls go on either way.", registry=REGISTRY
)
STORE_DROPPED_WRITES = Counter(
    "offhook_store_dropped_writes", "Record writes given up because too many waited.", registry=REGISTRY
)

# ---- trunks ----
DIAL_PLAN_RELOADS = Counter(
    "offhook_dial_plan_reloads",
    "Times the trunks' file was read again, by what came of it.",
    labelnames=("result",),  # loaded, refused
    registry=REGISTRY,
)
TRUNK_REGISTERED = Gauge(
    "offhook_trunk_registered",
    "1 while we are registered at a server of the trunk, else 0; absent for trunks that do not register.",
    labelnames=("trunk",),
    registry=REGISTRY,
)
TRUNK_REGISTRATIONS = Counter(
    "offhook_trunk_registrations",
    "Registrations tried and refreshed, by trunk and by what came of it.",
    labelnames=("trunk", "result"),  # ok, refused, unreachable
    registry=REGISTRY,
)

# ---- hostile traffic, admission and drain ----
# Fields of telephony.sip_gate.GateCounts: what became of a SIP message or a connection.
GATE_REASONS = (
    "foreign",
    "banned",
    "oversize",
    "malformed",
    "unwanted",
    "rate_limited",
    "refused_full",
    "connections_refused",
    "connections_timed_out",
)
SIP_KEPT_OUT = Counter(
    "offhook_sip_kept_out",
    "SIP messages dropped or told 503 before a call was made, and connections refused or ended.",
    labelnames=("reason",),
    registry=REGISTRY,
)
SIP_BANS = Counter("offhook_sip_bans", "Times a source was banned for its strikes.", registry=REGISTRY)
SIP_BANNED_SOURCES = Gauge("offhook_sip_banned_sources", "Sources that are banned now.", registry=REGISTRY)
SIP_CONNECTIONS = Gauge(
    "offhook_sip_connections", "Connections to the SIP port, open now.", registry=REGISTRY
)
RTP_FOREIGN = Counter(
    "offhook_rtp_foreign_packets",
    "RTP and RTCP packets dropped: not of the source, or the SSRC, that their call is locked to.",
    registry=REGISTRY,
)
RTP_PORTS_RESTING = Gauge(
    "offhook_rtp_ports_resting", "Pairs of RTP ports that wait after a call.", registry=REGISTRY
)
DRAINING = Gauge("offhook_draining", "1 from the first stop signal on, else 0.", registry=REGISTRY)
# ---- calls that leave ----
OUTBOUND_DECISIONS = Counter(
    "offhook_outbound_decisions",
    "Calls that somebody wanted to leave; `result` is allowed, or a Refusal.",
    labelnames=("purpose", "result"),
    registry=REGISTRY,
)

ANSWERERS = Counter(
    "offhook_answerers",
    "Who took our calls; `result` is an Answerer.",
    labelnames=("result",),
    registry=REGISTRY,
)
TRANSFERS = Counter(
    "offhook_transfers",
    "Callers to be handed over to a person; `result` is a TransferResult.",
    labelnames=("result",),
    registry=REGISTRY,
)
TRANSFER_SECONDS = Histogram(
    "offhook_transfer_seconds",
    "A transfer asked for to its outcome.",
    buckets=(1, 2, 5, 10, 15, 20, 30, 45, 60, 120),
    registry=REGISTRY,
)
RECORDINGS_DELETED = Counter(
    "offhook_recordings_deleted", "Recordings that were older than they may be.", registry=REGISTRY
)


def _begin_at_zero() -> None:
    """Show every closed label at once: a counter that appears with its first event hides it from rate()."""
    for transport in TRANSPORTS:
        for direction in ("inbound", "outbound") if transport == "sip" else ("inbound",):
            CALLS_ACTIVE.labels(direction, transport)
            CALL_DURATION_SECONDS.labels(direction, transport)
            for reason in EndReason:
                CALLS.labels(direction, transport, reason.value)
        CALL_SETUP_SECONDS.labels(transport)
        RESPONSE_GAP_SECONDS.labels(transport)
    for result in ("loaded", "refused"):
        DIAL_PLAN_RELOADS.labels(result)
    for way in ("up", "down"):
        BRIDGE_DELAY_SECONDS.labels(way)
    for way in ("in", "out"):
        RTP_PACKETS.labels(way)
        RTP_LOST.labels(way)
    for kept_out in GATE_REASONS:
        SIP_KEPT_OUT.labels(kept_out)


_begin_at_zero()
