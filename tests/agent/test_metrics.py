"""The metrics: names the contract lists, base units, closed labels, buckets that resolve the bars."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from agent import metrics
from agent.errors import EndReason

LABELS = {"direction", "purpose", "reason", "result", "transport", "trunk", "worker"}
OURS = {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}
PROMISED = {
    "offhook_calls_active": Gauge,
    "offhook_calls_total": Counter,
    "offhook_response_gap_seconds": Histogram,
    "offhook_barge_in_stop_seconds": Histogram,
    "offhook_bridge_delay_seconds": Histogram,
    "offhook_worker_tick_seconds": Histogram,
    "offhook_worker_deadline_misses_total": Counter,
    "offhook_worker_slots": Gauge,
    "offhook_worker_calibrated_p99_seconds": Gauge,
    "offhook_worker_slots_used": Gauge,
    "offhook_playout_underruns_total": Counter,
    "offhook_rtp_lost_total": Counter,
    "offhook_rtp_jitter_seconds": Histogram,
    "offhook_mos": Histogram,
}


def exposed_name(metric: MetricWrapperBase) -> str:
    family = next(iter(metric.describe()))
    return f"{family.name}_total" if isinstance(metric, Counter) else str(family.name)


def test_promised_metrics_exist_with_their_types() -> None:
    by_name = {exposed_name(metric): metric for metric in OURS.values()}
    for name, kind in PROMISED.items():
        assert isinstance(by_name[name], kind), name
    assert metrics.CALLS._labelnames == ("direction", "transport", "result")
    assert metrics.BRIDGE_DELAY_SECONDS._labelnames == ("direction",)


@pytest.mark.parametrize("constant", OURS)
def test_names_and_labels_keep_the_laws(constant: str) -> None:
    metric = OURS[constant]
    assert exposed_name(metric).startswith("offhook_")
    assert not re.search(r"_(ms|milliseconds|percent)(_|$)", exposed_name(metric))
    assert set(metric._labelnames) <= LABELS, "a label must be from a closed set"


@pytest.mark.parametrize("constant", OURS)
def test_every_metric_is_fed_by_the_code(constant: str) -> None:
    sources = (path for path in Path(metrics.__file__).parent.rglob("*.py") if path.name != "metrics.py")
    use = re.compile(rf"\bmetrics\.{constant}\b|\b{constant}\.(inc|set|observe|labels|dec)\b")
    assert any(use.search(path.read_text(encoding="utf-8")) for path in sources), f"nobody feeds {constant}"


@pytest.mark.parametrize(
    ("metric", "bar_s", "finest_s"),
    [
        (metrics.RESPONSE_GAP_SECONDS, 0.5, 0.05),
        (metrics.RESPONSE_GAP_SECONDS, 0.8, 0.05),
        (metrics.BARGE_IN_STOP_SECONDS, 0.6, 0.05),
        (metrics.BARGE_IN_STOP_SECONDS, 2.0, 1.0),
        (metrics.BRIDGE_DELAY_SECONDS, 0.04, 0.005),
        (metrics.BRIDGE_DELAY_SECONDS, 0.06, 0.005),
        (metrics.WORKER_TICK_SECONDS, 0.04, 0.01),
        (metrics.WORKER_TICK_SECONDS, 0.08, 0.02),
    ],
)
def test_buckets_resolve_the_bars(metric: Histogram, bar_s: float, finest_s: float) -> None:
    edges = [float(edge) for edge in metric._upper_bounds]
    at = edges.index(bar_s)  # an edge on the bar: the share within it is exact
    assert edges[at] - edges[at - 1] <= finest_s + 1e-9
    assert edges[at + 1] - edges[at] <= finest_s + 1e-9


def test_counters_begin_at_zero_with_every_label() -> None:
    """Asked of a fresh process: in this one other tests have counted."""
    page = "import prometheus_client as p, agent.metrics as m; print(p.generate_latest(m.REGISTRY).decode())"
    shown = subprocess.run([sys.executable, "-c", page], capture_output=True, text=True, check=True).stdout
    for reason in EndReason:
        for transport in metrics.TRANSPORTS:
            labels = f'direction="inbound",result="{reason}",transport="{transport}"'
            assert f"offhook_calls_total{{{labels}}} 0.0" in shown
    assert 'offhook_rtp_lost_total{direction="in"} 0.0' in shown
    assert 'offhook_bridge_delay_seconds_count{direction="down"} 0.0' in shown
    assert "process_open_fds" in shown and "call_id" not in shown
