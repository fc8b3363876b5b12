"""What deploy/ ships is held to the code: metric names, settings, paths, and Debian's own promtool."""

import asyncio
import importlib
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import metrics
from agent.settings import Settings
from agent.settings_reader import setting_names
from agent.store import ping

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "offhook.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
RULES = DEPLOY / "prometheus" / "rules.yml"
ALERT_TESTS = tuple(Path(__file__).with_name(name) for name in ("alerts.yml", "alerts_week.yml"))
RUNBOOKS = DEPLOY.parent / "docs" / "runbooks"
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


def alerts() -> list[dict[str, Any]]:
    return [rule for group in load_yaml(ALERTS)["groups"] for rule in group["rules"]]


def alert_queries() -> list[str]:
    return [alert["expr"] for alert in alerts()]


def recorded() -> dict[str, str]:
    """Every recorded series and what it is made of."""
    rules = [rule for group in load_yaml(RULES)["groups"] for rule in group["rules"]]
    assert len({rule["record"] for rule in rules}) == len(rules)
    return {rule["record"]: rule["expr"] for rule in rules}


def exposed_names() -> set[str]:
    """Every series name that a scrape can show."""
    names = set(OUR_PROCESS_METRICS)
    for family in metrics.REGISTRY.collect():
        parts = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
        names |= {family.name + part for part in parts.get(family.type, ("",))}
    return names


@pytest.mark.parametrize("query", [*dashboard_queries(), *alert_queries(), *recorded().values()])
def test_every_metric_of_a_query_exists(query: str) -> None:
    named = set(re.findall(r"\b\w+:offhook_\w+:\w+|\b(?<!:)(?:offhook|process)_\w+", query))
    assert named or "up{" in query
    assert named <= exposed_names() | set(recorded())


def test_every_recorded_series_is_asked_for() -> None:
    asked = " ".join([*dashboard_queries(), *alert_queries(), *recorded().values()])
    assert [name for name in recorded() if name not in asked] == []


def test_shares_and_quantiles_ask_for_traffic_before_they_wake_somebody() -> None:
    guarded = [alert for alert in alerts() if re.search(r":ratio|:p\d|:per_", alert["expr"])]
    assert len(guarded) > 12
    for alert in guarded:
        assert re.search(r"\nand \w+:offhook_\w+:(increase10m|sum) >=? \d+$", alert["expr"].strip()), alert


def test_every_alert_has_a_page_that_says_what_to_do_and_no_page_is_left_over() -> None:
    for alert in alerts():
        page = DEPLOY.parent / alert["annotations"]["runbook"]
        assert page == RUNBOOKS / f"{alert['alert']}.md"
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {alert['alert']}\n")
        assert f"```\n{alert['expr'].strip()}\n```" in text, "the page shows another rule"
        for part in ("## What it means", "## Look", "## Do"):
            assert part in text
        for link in re.findall(r"\]\((\w+\.md)\)", text):
            assert (RUNBOOKS / link).exists(), link
        settings = {variable for variable, _ in setting_names()}
        assert set(re.findall(r"OFFHOOK_[A-Z_]*[A-Z]", text)) <= settings
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {alert["alert"] for alert in alerts()}


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    asked = " ".join(dashboard_queries())
    ours = [family.name for family in metrics.REGISTRY.collect() if family.name.startswith("offhook_")]
    assert (
        ours and [name for name in ours if not re.search(rf"\b{name}(_total|_bucket|_sum)?\b", asked)] == []
    )


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


def test_the_dashboard_is_what_its_source_prints() -> None:
    printed = subprocess.run(
        [sys.executable, DASHBOARD.with_name("dashboard.py")], capture_output=True, text=True, check=True
    )
    assert printed.stdout == DASHBOARD.read_text(), "run deploy/grafana/dashboard.py again"


def test_every_panel_says_what_it_shows_and_asks_the_chosen_gateways() -> None:
    named = [variable["name"] for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]]
    assert named == ["window", "instance"]
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in {"short", "s", "percentunit", "bytes", "pps"}, panel["title"]
        values = [step["value"] for step in defaults["thresholds"]["steps"]]
        assert values[0] is None and values[1:] == sorted(values[1:]), panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]
            for metric in re.findall(r"(?<![\w:])(?:offhook|process)_\w+", target["expr"]):
                assert f'{metric}{{instance=~"$instance"' in target["expr"], panel["title"]
    titles = [panel["title"] for panel in panels()]
    assert len(titles) == len(set(titles))


def test_a_single_number_waits_for_the_first_instead_of_showing_nan() -> None:
    quantiles = [
        target["expr"]
        for panel in panels()
        if panel["type"] == "stat"
        for target in panel["targets"]
        if "histogram_quantile" in target["expr"]
    ]
    assert quantiles and all(query.endswith(" >= 0") for query in quantiles)


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
    assert f"{len(alerts())} rules found" in checked.stdout
    assert f"{len(recorded())} rules found" in checked.stdout
    targets = load_yaml(config)["scrape_configs"][0]["static_configs"][0]["targets"]
    environment = load_yaml(DEPLOY / "compose.yaml")["services"]["offhook"]["environment"]
    assert targets == [f"{Settings().http.bind_address}:{environment['OFFHOOK_HTTP__METRICS_PORT']}"]


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    checked = subprocess.run(
        ["/usr/bin/promtool", "test", "rules", *ALERT_TESTS],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tests = [test for path in ALERT_TESTS for test in load_yaml(path)["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {alert["alert"] for alert in alerts()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


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


def test_what_the_page_on_deployment_names_exists() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:deploy|docs)/[\w./]+\w", text))
    assert len(named) > 6
    for path in named - {"deploy/.env"}:
        assert (DEPLOY.parent / path).exists(), path
    assert set(re.findall(r"OFFHOOK_\w+", text)) <= {variable for variable, _ in setting_names()}


def test_compose_on_a_gpu_changes_what_it_must() -> None:
    plain, gpu = (
        load_yaml(DEPLOY / name)["services"]["offhook"] for name in ("compose.yaml", "compose.gpu.yaml")
    )
    assert (plain["build"]["target"], gpu["build"]["target"]) == ("cpu", "cuda")
    assert plain["image"] != gpu["image"]
    assert set(gpu["environment"]) <= {variable for variable, _ in setting_names()}
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_compose_lets_offhook_write_to_its_volumes_and_tmp_alone() -> None:
    offhook = load_yaml(DEPLOY / "compose.yaml")["services"]["offhook"]
    assert offhook["read_only"] and offhook["tmpfs"] == ["/tmp"] and offhook["cap_drop"] == ["ALL"]
    assert {mount.split(":")[1] for mount in offhook["volumes"]} == {"/run/redis", "/var/lib/offhook"}


def test_compose_waits_longer_than_live_calls_may_go_on() -> None:
    grace = load_yaml(DEPLOY / "compose.yaml")["services"]["offhook"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) >= Settings().drain_timeout_s + 10


@pytest.mark.redis
async def test_redis_takes_its_flags_and_answers_other_users(tmp_path: Path) -> None:
    services = load_yaml(DEPLOY / "compose.yaml")["services"]
    server_sees, offhook_sees = (
        next(m.split(":")[1] for m in services[name]["volumes"] if m.startswith("redis-socket:"))
        for name in ("redis", "offhook")
    )
    command = [word.replace(server_sees, str(tmp_path)) for word in services["redis"]["command"]]
    url = services["offhook"]["environment"]["OFFHOOK_REDIS_URL"].replace(offhook_sees, str(tmp_path))
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL, cwd=tmp_path)
    try:
        async with asyncio.timeout(10):
            while not (tmp_path / "redis.sock").exists():
                assert server.returncode is None
                await asyncio.sleep(0.05)
            await ping(url)
        assert stat.S_IMODE((tmp_path / "redis.sock").stat().st_mode) == 0o777
    finally:
        server.terminate()
        await server.wait()


def test_compose_opens_nothing_beyond_this_machine() -> None:
    services = load_yaml(DEPLOY / "compose.yaml")["services"]
    assert services["redis"]["network_mode"] == "none"
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert all("ports" not in service for service in services.values())
