"""The operator's dashboard, written as rows of panels; prints the JSON that Grafana is provisioned with.

    python deploy/grafana/dashboard.py > deploy/grafana/offhook.json

By hand the JSON is a thousand lines in which a unit or a threshold is easily forgotten. Needs no packages.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "offhook-prometheus"}
WINDOWS = ("1m", "5m", "15m", "1h")
WIDTH = 24
GREEN, YELLOW, RED = "green", "yellow", "red"
Steps = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Panel:
    """One picture: `queries` are (PromQL, legend); `steps` colour a number, `lines` cross a graph."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    about: str
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    steps: Steps = ()
    lines: tuple[float, ...] = ()
    top: float | None = None
    is_whole: bool = False


def of(metric: str, labels: str = "") -> str:
    """A metric of the chosen gateways."""
    return f'{metric}{{instance=~"$instance"{", " + labels if labels else ""}}}'


def quantile(q: float, metric: str, *by: str) -> str:
    """A quantile of a histogram over the chosen window."""
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({q:g}, sum by ({labels}) (rate({of(metric + '_bucket')}[$window])))"


def risen(metric: str, *by: str, labels: str = "") -> str:
    """How much a counter rose over the chosen window."""
    grouped = f" by ({', '.join(by)}) " if by else ""
    return f"sum{grouped}(increase({of(metric, labels)}[$window]))"


def share(part: str, whole: str) -> str:
    """One sum as a part of another; nothing where the other is 0."""
    return f"{part} / ({whole} > 0)"


def number(title: str, unit: str, query: str, about: str, **more: Any) -> Panel:
    """A single figure."""
    return Panel(title, unit, ((query, title.lower()),), about, "stat", 3, 4, **more)


def quantiles(metric: str, *asked: float, by: str = "") -> tuple[tuple[str, str], ...]:
    """Quantiles of one histogram as lines of a graph."""
    suffix = f" {{{{{by}}}}}" if by else ""
    return tuple((quantile(q, metric, *([by] if by else [])), f"p{round(100 * q)}{suffix}") for q in asked)


CALLS = "offhook_calls_total"
OURS = 'result=~"worker_lost|model_failed|internal_error|prompt_refused"'
UNANSWERED = 'result=~"no_free_slot|prompt_refused|media_refused|caller_cancelled"'

NOW = (
    number(
        "Calls",
        "short",
        f"sum({of('offhook_calls_active')})",
        "Calls that hold a session now.",
        is_whole=True,
    ),
    number(
        "Slots in use",
        "percentunit",
        share(f"sum({of('offhook_worker_slots_used')})", f"sum({of('offhook_worker_slots')})"),
        "Of all slots of all ready workers. Beyond the last one callers hear 503.",
        steps=((YELLOW, 0.7), (RED, 0.9)),
        top=1,
    ),
    number(
        "Answered",
        "percentunit",
        f"1 - {share(risen(CALLS, labels=UNANSWERED), risen(CALLS))} >= 0",
        "Of all who called (ASR): neither refused, nor gone before we answered.",
        steps=((RED, 0.0), (YELLOW, 0.9), (GREEN, 0.97)),
        top=1,
    ),
    number(
        "Callers refused",
        "short",
        risen(CALLS, labels='result="no_free_slot"'),
        "503 with Retry-After: no free slot.",
        steps=((RED, 1),),
        is_whole=True,
    ),
    number(
        "Ended by our fault",
        "short",
        risen(CALLS, labels=OURS),
        "A worker was lost, the model failed or cannot be set up so, or the code has a fault.",
        steps=((RED, 1),),
        is_whole=True,
    ),
    number(
        "Response gap, median",
        "s",
        f"{quantile(0.5, 'offhook_response_gap_seconds')} >= 0",
        "Caller's last voiced sample to the agent's first. The bar is 0.5 s.",
        steps=((YELLOW, 0.5), (RED, 0.8)),
    ),
    number(
        "Tick, 99th percentile",
        "s",
        f"{quantile(0.99, 'offhook_worker_tick_seconds')} >= 0",
        "Of the 80 ms that a worker has for one step of all its calls.",
        steps=((YELLOW, 0.06), (RED, 0.072)),
    ),
    number(
        "Redis",
        "short",
        f"min({of('offhook_redis_up')})",
        "1 while Redis answers; calls go on without it.",
        steps=((RED, 0), (GREEN, 1)),
        is_whole=True,
    ),
)
TRAFFIC = (
    Panel(
        "Calls and slots",
        "short",
        (
            (f"sum({of('offhook_calls_active')})", "calls"),
            (f"sum({of('offhook_worker_slots_used')})", "slots used"),
            (f"sum({of('offhook_worker_slots')})", "slots"),
        ),
        "More calls than slots used: calls that wait for a worker after theirs was lost.",
        width=12,
    ),
    Panel(
        "Calls ended, by result",
        "short",
        ((f"{risen(CALLS, 'result')} > 0", "{{result}}"),),
        "Within the window. Refused callers are among them.",
        width=12,
    ),
    Panel(
        "Calls, by way and transport",
        "short",
        ((f"sum by (direction, transport) ({of('offhook_calls_active')})", "{{direction}} {{transport}}"),),
        "SIP from trunks and phones, WebRTC from browsers.",
    ),
    Panel(
        "Call set-up",
        "s",
        quantiles("offhook_call_setup_seconds", 0.5, 0.95),
        "INVITE or offer received to audio flowing.",
        lines=(1,),
    ),
    Panel(
        "Mean length of a call",
        "s",
        (
            (
                share(
                    f"sum(rate({of('offhook_call_duration_seconds_sum')}[$window]))",
                    f"sum(rate({of('offhook_call_duration_seconds_count')}[$window]))",
                ),
                "answer to end",
            ),
        ),
        "ACD: talk time by answered calls.",
    ),
)
TRUNKS = (
    Panel(
        "Trunks registered",
        "short",
        ((f"min by (trunk) ({of('offhook_trunk_registered')})", "{{trunk}}"),),
        "1 while every gateway is registered at the trunk's server; others do not register.",
        top=1,
        is_whole=True,
    ),
    Panel(
        "Registrations, by result",
        "short",
        ((risen("offhook_trunk_registrations_total", "trunk", "result"), "{{trunk}} {{result}}"),),
        "Tried and refreshed. refused: the password or the address; unreachable: the network.",
    ),
    Panel(
        "Trunks' file read again",
        "short",
        ((risen("offhook_dial_plan_reloads_total", "result"), "{{result}}"),),
        "refused: the file has a fault, and what was read before goes on.",
    ),
    Panel(
        "Transfers, by result",
        "short",
        ((risen("offhook_transfers_total", "result"), "{{result}}"),),
        "Callers to be handed over to a person, and what came of it.",
        width=12,
    ),
    Panel(
        "Transfer",
        "s",
        quantiles("offhook_transfer_seconds", 0.5, 0.95),
        "A transfer asked for to its outcome.",
        width=12,
    ),
    Panel(
        "Calls that leave, by decision",
        "short",
        ((risen("offhook_outbound_decisions_total", "purpose", "result"), "{{purpose}} {{result}}"),),
        "Outbound calls and transfers, allowed or refused by the policy.",
        width=12,
    ),
    Panel(
        "Who took our calls",
        "short",
        ((risen("offhook_answerers_total", "result"), "{{result}}"),),
        "Persons, answering machines, and those that could not be told apart.",
        width=12,
    ),
)
DOOR = (
    Panel(
        "SIP kept out, by reason",
        "short",
        ((risen("offhook_sip_kept_out_total", "reason"), "{{reason}}"),),
        "Messages dropped or told 503 before a call was made, and connections refused or ended.",
        width=12,
    ),
    Panel(
        "Bans",
        "short",
        (
            (risen("offhook_sip_bans_total"), "bans"),
            (f"sum({of('offhook_sip_banned_sources')})", "sources banned now"),
        ),
        "Sources that struck too often are not heard for a while.",
        width=12,
    ),
    Panel(
        "Foreign RTP packets",
        "short",
        ((risen("offhook_rtp_foreign_packets_total", "instance"), "{{instance}}"),),
        "Not of the source, or the SSRC, that their call is locked to: late ones of a caller who moved, or "
        "somebody who injects sound. None of them is heard.",
    ),
    Panel(
        "Connections and resting ports",
        "short",
        (
            (f"sum({of('offhook_sip_connections')})", "SIP connections"),
            (f"sum({of('offhook_rtp_ports_resting')})", "RTP ports resting"),
        ),
        "Connections to the SIP port that are open, and pairs of RTP ports that wait after a call.",
    ),
    Panel(
        "Draining, and recordings deleted",
        "short",
        (
            (of("offhook_draining"), "{{instance}} draining"),
            (risen("offhook_recordings_deleted_total"), "recordings deleted"),
        ),
        "1 from the first stop signal on; recordings that were older than they may be.",
        is_whole=True,
    ),
)
CONVERSATION = (
    Panel(
        "Response gap",
        "s",
        quantiles("offhook_response_gap_seconds", 0.5, 0.95, 0.99),
        "Caller's last voiced sample to the agent's first. Lines: the bars for p50 (0.5 s) and p95 (0.8 s).",
        width=12,
        lines=(0.5, 0.8),
    ),
    Panel(
        "Barge-in stop",
        "s",
        quantiles("offhook_barge_in_stop_seconds", 0.5, 0.95),
        "Caller's onset during agent speech to the agent's last voiced sample. Lines: the bar for p50 (0.6 "
        "s), and 2 s, after which the agent has not yielded.",
        width=12,
        lines=(0.6, 2),
    ),
    Panel(
        "Response gaps",
        "s",
        ((f"sum by (le) (increase({of('offhook_response_gap_seconds_bucket')}[$window]))", "{{le}}"),),
        "How many turns were answered after how long.",
        "heatmap",
    ),
    Panel(
        "Questions passed on, by result",
        "short",
        ((f"{risen('offhook_delegations_total', 'result')} > 0", "{{result}}"),),
        "What the model could not know and asked for. timed_out, failed and unspeakable: the caller heard "
        "the fallback sentence.",
    ),
    Panel(
        "Answer to a question passed on",
        "s",
        quantiles("offhook_delegation_seconds", 0.5, 0.95),
        "From the question to its answer or the fallback. Line: the time limit as shipped, "
        "OFFHOOK_AGENT__DELEGATE_TIMEOUT_S.",
        lines=(6,),
    ),
)
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
ROWS = (
    ("Now", NOW),
    ("Traffic", TRAFFIC),
    ("Trunks and transfers", TRUNKS),
    ("Door", DOOR),
    ("Conversation", CONVERSATION),
    ("Media", MEDIA),
    ("Workers", WORKERS),
    ("Gateway", MACHINE),
    ("Weeks", WEEKS),
)


def dashboard() -> dict[str, Any]:
    """The whole dashboard as Grafana's JSON model has it."""
    return {
        "uid": "offhook",
        "title": "Offhook",
        "tags": ["offhook"],
        "editable": False,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "5s",
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_window(), _instance()]},
        "panels": list(_placed()),
    }


def _placed() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(
            {
                "id": len(panels) + 1,
                "title": title,
                "type": "row",
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
                "panels": [],
            }
        )
        y, x, height = y + 1, 0, 0
        for panel in row:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append({"id": len(panels) + 1, **_panel(panel), "gridPos": place})
            x, height = x + panel.width, panel.height
        y += height
    return panels


def _panel(panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    if panel.kind == "heatmap":
        targets = [{**target, "format": "heatmap"} for target in targets]
    return {
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "targets": targets,
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": GREEN, "value": None}]
    steps += [{"color": colour, "value": value} for colour, value in panel.steps]
    steps += [
        {"color": colour, "value": value} for colour, value in zip((YELLOW, RED), panel.lines, strict=False)
    ]
    custom: dict[str, Any] = {}
    if panel.kind == "timeseries":
        custom = {"fillOpacity": 8, "lineWidth": 1, "spanNulls": False}
        if panel.lines:
            custom["thresholdsStyle"] = {"mode": "line"}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "custom": custom}
    if panel.top is not None:
        defaults["max"] = panel.top
    if panel.is_whole:
        defaults["decimals"] = 0
    return {**defaults, "thresholds": {"mode": "absolute", "steps": steps}}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    if panel.kind == "heatmap":
        return {
            "calculate": False,
            "yAxis": {"unit": panel.unit},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
            "cellGap": 1,
            "tooltip": {"mode": "single", "yHistogram": True},
        }
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}


def _window() -> dict[str, Any]:
    options = [{"text": text, "value": text, "selected": text == WINDOWS[1]} for text in WINDOWS]
    return {
        "name": "window",
        "label": "Window",
        "type": "custom",
        "query": ",".join(WINDOWS),
        "current": {"text": WINDOWS[1], "value": WINDOWS[1]},
        "options": options,
    }


def _instance() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "Gateway",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": 'label_values(up{job="offhook"}, instance)', "refId": "instance"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1)
    sys.stdout.write("\n")
