"""What deploy/ ships is held to the code: metric names, settings, paths, and Debian's own promtool."""

import importlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent import metrics
from agent.settings import Settings, setting_names

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "offhook.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
OUR_PROCESS_METRICS = {"process_cpu_seconds_total", "process_open_fds", "process_max_fds"} | {
    "process_resident_memory_bytes"
}


def load_yaml(path: Path) -> Any:
    return importlib.import_module("yaml").safe_load(path.read_text(encoding="utf-8"))


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, rows left out."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def alert_queries() -> list[str]:
    return [rule["expr"] for group in load_yaml(ALERTS)["groups"] for rule in group["rules"]]


def exposed_names() -> set[str]:
    """Every series name that a scrape can show."""
    names = set(OUR_PROCESS_METRICS)
    for family in metrics.REGISTRY.collect():
        parts = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
        names |= {family.name + part for part in parts.get(family.type, ("",))}
    return names


@pytest.mark.parametrize("query", [*dashboard_queries(), *alert_queries()])
def test_every_metric_of_a_query_exists(query: str) -> None:
    named = set(re.findall(r"\b(?:offhook|process)_\w+", query))
    assert named or "up{" in query
    assert named <= exposed_names()


def test_dashboard_shows_what_it_must() -> None:
    shown = {panel["title"]: panel for panel in panels()}
    for title in ("Calls and slots", "Response gap", "Barge-in stop", "Tick time", "RTP loss", "RTP jitter"):
        assert title in shown
    legends = [target["legendFormat"] for target in shown["Response gap"]["targets"]]
    assert legends == ["p50", "p95", "p99"]
    misses = " ".join(t["expr"] for p in panels() if "misses" in p["title"] for t in p["targets"])
    assert "offhook_worker_deadline_misses_total" in misses
    tick = shown["Tick time"]["fieldConfig"]["defaults"]
    assert tick["custom"]["thresholdsStyle"] == {"mode": "line"}
    assert 0.08 in [step["value"] for step in tick["thresholds"]["steps"]]


def test_every_panel_asks_the_provisioned_source_and_has_its_own_place() -> None:
    uid = load_yaml(DEPLOY / "grafana" / "datasource.yml")["datasources"][0]["uid"]
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["datasource"]["uid"] == uid
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(numbers) == len(set(numbers))


def test_prometheus_takes_the_configuration() -> None:
    config = DEPLOY / "prometheus" / "prometheus.yml"
    checked = subprocess.run(
        ["/usr/bin/promtool", "check", "config", config], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert f"{len(alert_queries())} rules found" in checked.stdout
    targets = load_yaml(config)["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"{Settings().http.bind_address}:{Settings().http.port}"]


def test_compose_sets_only_settings_that_exist_and_mounts_only_files_that_exist() -> None:
    services = load_yaml(DEPLOY / "compose.yaml")["services"]
    assert set(services) == {"offhook", "redis", "prometheus", "grafana"}
    assert set(services["offhook"]["environment"]) <= {variable for variable, _ in setting_names()}
    for name, service in services.items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), mount
        image = service["image"]
        assert name == "offhook" or re.search(r":v?\d+\.\d+", image), f"{image} is not pinned"
    assert (DEPLOY / services["offhook"]["build"]["context"] / "deploy" / "Dockerfile").exists()


def test_compose_opens_nothing_beyond_this_machine() -> None:
    services = load_yaml(DEPLOY / "compose.yaml")["services"]
    assert services["redis"]["network_mode"] == "none"
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert all("ports" not in service for service in services.values())


def test_dockerfile_copies_what_setup_and_serve_need() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!").split("*")[0] for line in ignored if line.startswith("!")}
    top = DEPLOY.parent
    for path in ("agent", "telephony", "model", "pyproject.toml", "deploy/setup.sh", "requirements.txt"):
        assert (top / path).exists()
        assert any(path.startswith(one) for one in kept), path
