"""The rows about what carries the calls: the network, the workers, the gateway, and all of it over weeks."""

from __future__ import annotations

from panels import Panel
from queries import of, quantiles, risen, share

LOST, CARRIED = (
    f"sum by (direction) (rate({of('offhook_rtp_lost_total')}[$window]))",
    f"sum by (direction) (rate({of('offhook_rtp_lost_total')}[$window]) "
    f"+ rate({of('offhook_rtp_packets_total')}[$window]))",
)
MEDIA = (
    Panel(
        "RTP loss",
        "percentunit",
        ((share(LOST, CARRIED), "{{direction}}"),),
        "in: lost on the way to us; out: what the peer reports.",
        lines=(0.01, 0.05),
    ),
    Panel(
        "RTP jitter",
        "s",
        quantiles("offhook_rtp_jitter_seconds", 0.5, 0.95, by="direction"),
        "Interarrival jitter by RFC 3550. Line: where the alert begins.",
        lines=(0.06,),
    ),
    Panel(
        "MOS (E-model)",
        "short",
        quantiles("offhook_mos", 0.5, 0.05),
        "Listening quality of the line by ITU-T G.107; it knows nothing of what was said. Line: below it "
        "many listeners are dissatisfied.",
        lines=(3.6,),
    ),
    Panel(
        "RTP packets",
        "pps",
        ((f"sum by (direction) (rate({of('offhook_rtp_packets_total')}[$window]))", "{{direction}}"),),
        "50 a second and direction for each call. One way much less than the other: calls that are heard on "
        "one side only.",
    ),
    Panel(
        "Bridge delay",
        "s",
        quantiles("offhook_bridge_delay_seconds", 0.5, 0.95, by="direction"),
        "Between the network and the model, each way; the 80 ms fill of a frame is not in it. Line: where "
        "the alert begins.",
        lines=(0.1,),
    ),
    Panel(
        "Playout",
        "short",
        (
            (risen("offhook_playout_underruns_total"), "underruns"),
            (risen("offhook_playout_dropped_frames_total"), "late frames dropped"),
        ),
        "Times a call had nothing to play, and agent frames that came too late to be played.",
    ),
)
WORKERS = (
    Panel(
        "Tick time",
        "s",
        (
            *quantiles("offhook_worker_tick_seconds", 0.5, 0.99, by="worker"),
            (of("offhook_worker_calibrated_p99_seconds"), "{{worker}} p99 as calibrated"),
        ),
        "collect, step, deliver. Line: the 80 ms after which the next tick is due.",
        width=12,
        lines=(0.08,),
    ),
    Panel(
        "Tick times",
        "s",
        ((f"sum by (le) (increase({of('offhook_worker_tick_seconds_bucket')}[$window]))", "{{le}}"),),
        "How many ticks took how long, of all workers.",
        "heatmap",
        width=12,
    ),
    Panel(
        "Slots, by worker",
        "short",
        (
            (f"sum by (worker) ({of('offhook_worker_slots_used')})", "{{worker}} used"),
            (f"sum by (worker) ({of('offhook_worker_slots')})", "{{worker}} slots"),
        ),
        "A worker that is away has no slots.",
    ),
    Panel(
        "Deadline misses, frames dropped",
        "short",
        (
            (risen("offhook_worker_deadline_misses_total", "worker"), "misses {{worker}}"),
            (risen("offhook_worker_dropped_frames_total", "worker"), "dropped {{worker}}"),
        ),
        "Ticks that were not done when the next was due, and caller frames thrown away to catch up.",
    ),
    Panel(
        "Restarts",
        "short",
        ((risen("offhook_worker_restarts_total", "worker"), "{{worker}}"),),
        "Times the pool started or connected to a worker again.",
    ),
)
MACHINE = (
    Panel(
        "Gateway CPU",
        "short",
        ((f"rate({of('process_cpu_seconds_total')}[$window])", "{{instance}}"),),
        "Cores in use; one event loop cannot use more than about one.",
        lines=(1,),
        width=6,
    ),
    Panel(
        "Gateway memory",
        "bytes",
        ((of("process_resident_memory_bytes"), "{{instance}}"),),
        "Resident. It should be flat from day to day.",
        width=6,
    ),
    Panel(
        "File descriptors",
        "percentunit",
        ((f"{of('process_open_fds')} / {of('process_max_fds')}", "{{instance}}"),),
        "Of those the process may open; each call takes some.",
        lines=(0.8,),
        width=6,
        top=1,
    ),
    Panel(
        "Records not written",
        "short",
        ((risen("offhook_store_dropped_writes_total", "instance"), "{{instance}}"),),
        "Given up because too many waited for Redis.",
        width=6,
    ),
)
WEEKS = (
    Panel(
        "Calls in ten minutes",
        "short",
        (
            ("job:offhook_calls:increase10m", "calls"),
            ("job_result:offhook_calls:increase10m > 0", "{{result}}"),
            ("job:offhook_calls_active:sum", "at once"),
        ),
        "All gateways, as recorded: for whole weeks, whatever the window and instance above.",
    ),
    Panel(
        "Shares of callers",
        "percentunit",
        (
            ("job:offhook_calls_answered:ratio10m", "answered"),
            ("job:offhook_calls_refused:ratio10m", "refused"),
            ("job:offhook_calls_failed_by_us:ratio10m", "our fault"),
            ("job:offhook_calls_failed_by_trunk:ratio10m", "trunk's fault"),
            ("job:offhook_worker_slots_used:ratio", "slots in use"),
        ),
        "What the alerts on refused and failed calls look at.",
        top=1,
    ),
    Panel(
        "Times",
        "s",
        (
            ("job:offhook_response_gap_seconds:p50_10m", "response gap p50"),
            ("job:offhook_response_gap_seconds:p95_10m", "response gap p95"),
            ("job:offhook_response_gap_seconds:p99_10m", "response gap p99"),
            ("job:offhook_barge_in_stop_seconds:p50_10m", "barge-in stop p50"),
            ("job:offhook_barge_in_stop_seconds:p95_10m", "barge-in stop p95"),
            ("job:offhook_call_setup_seconds:p95_10m", "set-up p95"),
        ),
        "What the alerts on slow answers look at.",
        lines=(1.5, 3),
    ),
    Panel(
        "Line quality",
        "short",
        (("job:offhook_mos:p50_10m", "MOS p50"), ("job:offhook_mos:p5_10m", "MOS p5")),
        "The E-model's opinion of the network, over weeks.",
        width=12,
        lines=(3.6,),
    ),
    Panel(
        "Mean length of a call, over weeks",
        "s",
        (("job:offhook_call_duration_seconds:mean10m", "answer to end"),),
        "Calls that grow shorter may be callers who give up.",
        width=12,
    ),
)
