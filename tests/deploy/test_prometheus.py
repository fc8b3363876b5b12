"""Every query of dashboard and alerts, asked of a real Prometheus that scrapes a real /metrics page."""

import asyncio
import contextlib
import json
import math
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from agent import metrics
from agent.access import Access
from agent.access_keys import KeyFile
from agent.control import ControlServer, Served
from agent.gateway_health import GatewayHealth, Readiness
from agent.live_view import LiveCall
from agent.settings import HttpSettings
from agent.store import SessionRecord
from tests.deploy.test_manifests import DEPLOY, alert_queries, dashboard_queries, recorded

WINDOW = "30s"  # what the dashboard's variable stands for here
NUM_ROUNDS = 4
CHOSEN = '{instance=~"$instance"}'  # of the gateways that the dashboard shows


class NoCalls:
    """A gateway without calls."""

    def readiness(self) -> Readiness:
        return Readiness()

    def calls(self) -> Sequence[SessionRecord]:
        return []

    def live(self) -> Sequence[LiveCall]:
        return []

    def ended(self) -> Sequence[tuple[SessionRecord, str | None]]:
        return []

    def health(self) -> GatewayHealth:
        return GatewayHealth("gw", "0", 0, True, (), (), True, 0, 0, ())

    def hang_up(self, _call_id: str) -> bool:
        return False

    async def say(self, call_id: str, text: str) -> bool | None:
        return None

    async def silence(self, call_id: str, seconds: float) -> bool | None:
        return None


def no_keys() -> Served:
    """The HTTP side of a gateway to which nobody has a key."""
    return Served(metrics.REGISTRY, Access(KeyFile(Path("/nowhere"))))


def feed() -> None:
    """What a second of two calls might leave behind."""
    metrics.CALLS_ACTIVE.labels("inbound", "sip").set(2)
    metrics.REDIS_UP.set(1)
    metrics.STORE_DROPPED_WRITES.inc(0)
    for worker in ("w0", "w1"):
        metrics.WORKER_SLOTS.labels(worker).set(2)
        metrics.WORKER_SLOTS_USED.labels(worker).set(1)
        metrics.WORKER_RESTARTS.labels(worker).inc(0)
        metrics.WORKER_DROPPED_FRAMES.labels(worker).inc(0)
        metrics.WORKER_DEADLINE_MISSES.labels(worker).inc()
        metrics.WORKER_STEP_P99_SECONDS.labels(worker).set(0.04)
        for tick in range(12):
            metrics.WORKER_TICK_SECONDS.labels(worker).observe(0.02 + 0.001 * tick)
    for way in ("in", "out"):
        metrics.RTP_PACKETS.labels(way).inc(99)
        metrics.RTP_LOST.labels(way).inc(1)
        metrics.RTP_JITTER_SECONDS.labels(way).observe(0.003)
    for way in ("up", "down"):
        metrics.BRIDGE_DELAY_SECONDS.labels(way).observe(0.03)
    metrics.RESPONSE_GAP_SECONDS.labels("sip").observe(0.42)
    metrics.BARGE_IN_STOP_SECONDS.observe(0.55)
    metrics.CALL_SETUP_SECONDS.labels("sip").observe(0.05)
    metrics.CALL_DURATION_SECONDS.labels("inbound", "sip").observe(30)
    metrics.CALLS.labels("inbound", "sip", "caller_hung_up").inc()
    metrics.CALLS.labels("inbound", "sip", "no_free_slot").inc()
    metrics.DELEGATIONS.labels("answered").inc()
    metrics.DELEGATIONS.labels("timed_out").inc(0)
    metrics.DELEGATION_SECONDS.observe(0.8)
    metrics.TRUNK_REGISTERED.labels("itsp").set(1)
    metrics.TRUNK_REGISTRATIONS.labels("itsp", "ok").inc()
    metrics.TRUNK_REGISTRATIONS.labels("itsp", "refused").inc(0)
    metrics.OUTBOUND_DECISIONS.labels("transfer", "allowed").inc()
    metrics.OUTBOUND_DECISIONS.labels("transfer", "rate").inc(0)
    metrics.TRANSFERS.labels("completed").inc()
    metrics.TRANSFERS.labels("refused").inc(0)
    metrics.TRANSFER_SECONDS.observe(4)
    metrics.DRAINING.set(0)
    metrics.MOS.observe(4.3)
    metrics.PLAYOUT_UNDERRUNS.inc()
    metrics.PLAYOUT_DROPPED_FRAMES.inc()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def prometheus(target: str, folder: Path) -> AsyncIterator[str]:
    """Run Debian's Prometheus on our configuration, scraping `target` every 250 ms; yield its URL."""
    shipped = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    config = shipped.replace("127.0.0.1:9464", target).replace(
        "scrape_interval: 5s", "scrape_interval: 250ms"
    )
    config = config.replace("evaluation_interval: 15s", "evaluation_interval: 250ms")
    assert config.count("250ms") == 2 and target in config
    (folder / "prometheus.yml").write_text(config)
    for name in ("rules.yml", "alerts.yml"):
        shutil.copy(DEPLOY / "prometheus" / name, folder)
    address = f"127.0.0.1:{free_port()}"
    places = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "output").open("wb") as output:
        server = await asyncio.create_subprocess_exec(
            "/usr/bin/setpriv", "--pdeathsig", "KILL", "/usr/bin/prometheus",
            *places, f"--web.listen-address={address}", stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield f"http://{address}"
    finally:
        server.kill()
        await server.wait()


async def ask(http: ClientSession, url: str, query: str) -> list[float]:
    """The values of an instant query, those that are numbers."""
    async with http.get(f"{url}/api/v1/query", params={"query": query}) as answer:
        answer.raise_for_status()  # 503 while it starts
        body: dict[str, Any] = json.loads(await answer.text())
    assert body["status"] == "success", (query, body)
    values = [float(series["value"][1]) for series in body["data"]["result"]]
    return [value for value in values if not math.isnan(value)]


async def scraped(http: ClientSession, url: str, times: int) -> None:
    """Wait until Prometheus has scraped the target so often."""
    deadline_s = time.monotonic() + 30
    query = 'count_over_time(up{job="offhook"}[5m])'
    while True:
        with contextlib.suppress(ClientError):
            if sum(await ask(http, url, query)) >= times:
                return
        assert time.monotonic() < deadline_s, "Prometheus does not scrape"
        await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Every query with what Prometheus answered, in one run."""
    return asyncio.run(_answers(tmp_path_factory.mktemp("prometheus")))


async def _answers(folder: Path) -> dict[str, list[float]]:
    settings = HttpSettings(port=0, metrics_port=0)
    feed()
    async with (
        ControlServer(NoCalls(), settings, no_keys()) as control,
        prometheus(f"127.0.0.1:{control.metrics_port}", folder) as url,
        ClientSession() as http,
    ):
        for number in range(1, NUM_ROUNDS + 1):
            await scraped(http, url, 2 * number)
            feed()
        await scraped(http, url, 2 * NUM_ROUNDS + 3)
        queries = [*dashboard_queries(), *alert_queries(), *map(without_bound, alert_queries()), *recorded()]
        return {query: await ask(http, url, in_one_window(query)) for query in queries}


def in_one_window(query: str) -> str:
    """The query as Grafana would ask it, for all gateways."""
    return query.replace("$window", WINDOW).replace("$instance", ".*")


def without_bound(alert: str) -> str:
    """What an alert compares, so that it has a value even when nothing is wrong."""
    return re.split(r"\s(?:>|<|==)\s", alert)[0]


@pytest.mark.parametrize("query", dashboard_queries())
def test_every_dashboard_query_returns_numbers(answers: dict[str, list[float]], query: str) -> None:
    assert answers[query], "no data"


@pytest.mark.parametrize("alert", alert_queries())
def test_every_alert_looks_at_something(answers: dict[str, list[float]], alert: str) -> None:
    assert answers[without_bound(alert)], "no data"


@pytest.mark.parametrize("name", recorded())
def test_every_recorded_series_has_a_value(answers: dict[str, list[float]], name: str) -> None:
    assert answers[name], "no data"


def test_the_numbers_are_those_that_were_fed(answers: dict[str, list[float]]) -> None:
    def asked(part: str, metric: str) -> list[float]:
        return next(v for q, v in answers.items() if part in q and metric in q and "$window" in q)

    assert answers[f"sum(offhook_calls_active{CHOSEN})"] == [2]
    assert answers[f"sum(offhook_worker_slots{CHOSEN})"] == [4]
    assert 0.4 <= asked("quantile(0.5,", "response_gap")[0] <= 0.45
    assert 0.5 <= asked("quantile(0.5,", "delegation_seconds")[0] <= 1
    assert 0.5 <= asked("quantile(0.5,", "barge_in")[0] <= 0.55
    assert asked(f"lost_total{CHOSEN}[$window]) + ", "rtp_packets") == pytest.approx([0.01, 0.01])
    assert not any(answers[alert] for alert in alert_queries() if "no_free_slot" not in alert)
