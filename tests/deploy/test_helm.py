"""The chart, rendered by Helm's own library, held to Kubernetes's schemas and to our settings."""

import base64
import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.settings_reader import load_settings, setting_names
from agent.worker import parse_arguments
from tests.deploy.test_manifests import ALERTS, DASHBOARD, DEPLOY, RULES, load_yaml

CHART = DEPLOY / "helm" / "offhook"
OLDEST, NEWEST = "1.27", "1.37"  # of Kubernetes; Chart.yaml names the oldest
PEERS = ["192.0.2.0/24", "198.51.100.7/32"]
OPERATORS = {"ServiceMonitor", "PrometheusRule"}  # the Prometheus operator's kinds, which have no schema here
PLAIN: dict[str, Any] = {"gateway": {"allowedPeers": PEERS}}
EVERYTHING: dict[str, Any] = {
    "image": {"tag": "1.2.3", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "settings": {
        "OFFHOOK_AGENT__GREETING": "Good morning.",
        "OFFHOOK_AGENT__ROLE_FILE": "/etc/offhook/role.txt",
    },
    "secretSettings": [{"variable": "OFFHOOK_CASCADE__LLM_KEY", "secret": "llm", "key": "api-key"}],
    "sip": {
        "tls": {"existingSecret": "certificate"},
        "trunksFile": {"existingSecret": "plan", "secrets": ["carrier"]},
    },
    "gateway": {
        "replicas": 3,
        "allowedPeers": PEERS,
        "hostNetwork": False,
        "drainSeconds": 900,
        "adminKey": {"existingSecret": "admin", "key": "key"},
        "files": {"existingSecret": "roles"},
        "persistence": {"existingClaim": "recordings"},
        "nodeSelector": {"role": "voice"},
        "podAnnotations": {"note": "one"},
        "tolerations": [{"key": "voice", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
    },
    "worker": {
        "replicas": 2,
        "image": {"repository": "offhook-cuda", "tag": "1.2.3"},
        "modelDir": "/models/moshiko",
        "models": {"existingClaim": "models"},
        "device": "cuda",
        "slots": 8,
        "kv": "float8",
        "drainSeconds": 600,
        "cache": {"size": "5Gi", "storageClass": "fast"},
        "resources": {"limits": {"nvidia.com/gpu": "1", "memory": "24Gi"}},
        "runtimeClassName": "nvidia",
        "nodeSelector": {"gpu": "yes"},
        "podAnnotations": {"note": "two"},
        "disruptionBudget": {"maxUnavailable": "25%"},
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nobody may call": ({}, "gateway.allowedPeers"),
    "a network that is none": ({"gateway": {"allowedPeers": ["everybody"]}}, "/gateway/allowedPeers/0"),
    "a name that is misspelt": ({**PLAIN, "worker": {"slot": 2}}, "slot"),
    "a number of calls that is none": ({**PLAIN, "worker": {"slots": 0}}, "/worker/slots"),
    "an engine that is none": ({**PLAIN, "worker": {"engine": "magic"}}, "/worker/engine"),
    "a secret among plain settings": (
        {**PLAIN, "settings": {"OFFHOOK_HTTP__ADMIN_KEY": "x"}},
        "OFFHOOK_HTTP__ADMIN_KEY",
    ),
    "a setting of something else": ({**PLAIN, "settings": {"PATH": "/"}}, "PATH"),
    "many gateways without a Redis": ({**PLAIN, "redis": {"existingSecret": ""}}, "redis.existingSecret"),
}
Objects = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    """What Helm makes of every set of values above, in one run, and what it has to say against the chart."""
    return helm([*(values for values, _ in REFUSED.values()), PLAIN, EVERYTHING])


def helm(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Helm makes of each, and what it has to say against the chart with the last."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy.helm_template"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        cwd=DEPLOY.parent,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def objects(answer: dict[str, Any]) -> Objects:
    """The rendered objects by `kind/name`."""
    assert "manifests" in answer, answer
    load_all = importlib.import_module("yaml").safe_load_all
    texts = [text for name, text in answer["manifests"].items() if name.endswith(".yaml")]
    found = [one for text in texts for one in load_all(text) if one]
    named = {f"{one['kind']}/{one['metadata']['name']}": one for one in found}
    assert len(named) == len(found)
    return named


@pytest.fixture(scope="module")
def plain(answers: list[dict[str, Any]]) -> Objects:
    return objects(answers[-3])


@pytest.fixture(scope="module")
def everything(answers: list[dict[str, Any]]) -> Objects:
    return objects(answers[-2])


def pod(named: Objects, part: str) -> dict[str, Any]:
    kind = "Deployment" if part == "gateway" else "StatefulSet"
    return dict(named[f"{kind}/line-offhook-{part}"]["spec"]["template"]["spec"])


def test_the_chart_is_of_this_version() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    assert load_yaml(CHART / "Chart.yaml")["appVersion"] == project["version"]


def test_helm_finds_nothing_to_mend(answers: list[dict[str, Any]]) -> None:
    report = answers[-1]
    assert report["errors"] == [] and [one for one in report["messages"] if one["severity"] > 1] == []


@pytest.mark.parametrize("index, what", list(enumerate(REFUSED)))
def test_values_that_cannot_work_are_refused_by_name(
    answers: list[dict[str, Any]], index: int, what: str
) -> None:
    assert REFUSED[what][1] in answers[index].get("refused", ""), answers[index]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_every_object(plain: Objects, everything: Objects, version: str) -> None:
    validate = importlib.import_module("kubernetes_validate").validate
    assert load_yaml(CHART / "Chart.yaml")["kubeVersion"] == f">={OLDEST}.0-0"
    for one in [*plain.values(), *everything.values()]:
        if one["kind"] not in OPERATORS:
            validate(one, version, strict=True)


def test_a_misspelt_field_would_be_seen(plain: Objects) -> None:
    kubernetes_validate = importlib.import_module("kubernetes_validate")
    wrong = json.loads(json.dumps(plain["Deployment/line-offhook-gateway"]))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def environment(named: Objects) -> dict[str, str]:
    """What a gateway's process is given, with something for each Secret and field."""
    container = pod(named, "gateway")["containers"][0]
    given = dict(named["ConfigMap/line-offhook-gateway"]["data"])
    for variable in container["env"]:
        source = variable["valueFrom"]
        value = "10.1.2.3" if "fieldRef" in source else base64.b64encode(bytes(32)).decode()
        given[variable["name"]] = "redis://redis:6379/0" if "REDIS" in variable["name"] else value
    return given


def test_a_gateway_can_read_its_settings(plain: Objects, everything: Objects) -> None:
    known = {variable for variable, _ in setting_names()}
    for named, values, num_workers in ((plain, PLAIN, 1), (everything, EVERYTHING, 2)):
        given = environment(named)
        assert set(given) <= known
        settings = load_settings(given)
        assert list(settings.sip.allowed_peers) == values["gateway"]["allowedPeers"]
        assert settings.worker.count == 0 and len(settings.worker.addresses) == num_workers
        assert settings.drain_timeout_s == values["gateway"].get("drainSeconds", 3600)
    assert load_settings(environment(everything)).agent.greeting == "Good morning."


def test_gateways_look_for_workers_where_they_are(everything: Objects) -> None:
    workers, service = (everything[f"{kind}/line-offhook-worker"] for kind in ("StatefulSet", "Service"))
    assert workers["spec"]["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    port = service["spec"]["ports"][0]["port"]
    names = [f"line-offhook-worker-{index}" for index in range(workers["spec"]["replicas"])]
    expected = tuple(f"tcp:{name}.{service['metadata']['name']}.voice.svc:{port}" for name in names)
    assert load_settings(environment(everything)).worker.addresses == expected


def test_a_worker_can_read_its_command_line(plain: Objects, everything: Objects, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    for named, slots in ((plain, None), (everything, 8)):
        container = pod(named, "worker")["containers"][0]
        assert container["command"] == ["python3", "-m", "agent.worker"]
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        args = [word.replace("/run/secrets/offhook/secret", str(secret)) for word in container["args"]]
        assert args != container["args"] and {"/run/secrets/offhook", "/var/cache/offhook", "/tmp"} <= mounted
        config = parse_arguments(args)
        assert config.num_slots == slots and config.address.port == 7400
        assert config.drain_timeout_s == (600 if slots else 3600)


def test_nothing_is_ended_before_its_calls_are(plain: Objects, everything: Objects) -> None:
    for named in (plain, everything):
        for part in ("gateway", "worker"):
            spec = pod(named, part)
            container = spec["containers"][0]
            pause_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
            told = [word for word in container["args"] if word.startswith("--drain-timeout-s=")]
            drain_s = load_settings(environment(named)).drain_timeout_s
            if part == "worker":
                drain_s = float(told[0].partition("=")[2])
            assert spec["terminationGracePeriodSeconds"] >= pause_s + drain_s + 10
            budget = named[f"PodDisruptionBudget/line-offhook-{part}"]["spec"]
            assert budget["maxUnavailable"]
        gateway = named["Deployment/line-offhook-gateway"]["spec"]
        assert gateway["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
        assert gateway["progressDeadlineSeconds"] > pod(named, "gateway")["terminationGracePeriodSeconds"]


def test_pods_have_probes_and_no_rights(plain: Objects, everything: Objects) -> None:
    for named in (plain, everything):
        for part in ("gateway", "worker"):
            spec = pod(named, part)
            container = spec["containers"][0]
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
            ports = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                how = container[probe].get("httpGet") or container[probe]["tcpSocket"]
                assert how["port"] in ports
            assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            volumes = {volume["name"] for volume in spec["volumes"]}
            owner = named.get(f"StatefulSet/line-offhook-{part}", {"spec": {}})["spec"]
            claimed = owner.get("volumeClaimTemplates", [])
            volumes |= {claim["metadata"]["name"] for claim in claimed}
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_selectors_select_the_pods(everything: Objects) -> None:
    for part, kind in (("gateway", "Deployment"), ("worker", "StatefulSet")):
        owner = everything[f"{kind}/line-offhook-{part}"]["spec"]
        labels = owner["template"]["metadata"]["labels"].items()
        selecting = [
            owner["selector"]["matchLabels"],
            everything[f"Service/line-offhook-{part}"]["spec"]["selector"],
            everything[f"PodDisruptionBudget/line-offhook-{part}"]["spec"]["selector"]["matchLabels"],
            everything[f"NetworkPolicy/line-offhook-{part}"]["spec"]["podSelector"]["matchLabels"],
        ]
        for selector in selecting:
            assert selector["app.kubernetes.io/component"] == part and selector.items() <= labels


def test_policies_open_what_is_needed_and_no_more(plain: Objects, everything: Objects) -> None:
    sip, media, http = everything["NetworkPolicy/line-offhook-gateway"]["spec"]["ingress"]
    assert [one["ipBlock"]["cidr"] for one in sip["from"]] == PEERS
    opened = {(port["port"], port["protocol"]) for port in sip["ports"]}
    assert opened == {(5060, "UDP"), (5060, "TCP"), (5061, "TCP")}
    assert media["ports"] == [{"port": 20000, "endPort": 29999, "protocol": "UDP"}]
    assert {port["port"] for port in http["ports"]} == {8080, 9464}
    from_gateways = everything["NetworkPolicy/line-offhook-worker"]["spec"]["ingress"][0]["from"]
    assert len(from_gateways) == 1 and "podSelector" in from_gateways[0]
    # Pods on their node's network come from the node's address, and policies do not hold them.
    assert "NetworkPolicy/line-offhook-gateway" not in plain
    from_nodes = plain["NetworkPolicy/line-offhook-worker"]["spec"]["ingress"][0]["from"]
    assert [one["ipBlock"]["cidr"] for one in from_nodes if "ipBlock" in one]


def test_the_operator_scrapes_under_the_name_that_rules_ask_for(everything: Objects) -> None:
    monitor = everything["ServiceMonitor/line-offhook"]["spec"]
    service = everything["Service/line-offhook-gateway"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "offhook"
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    rule = everything["PrometheusRule/line-offhook"]["spec"]["groups"]
    assert rule == [*load_yaml(RULES)["groups"], *load_yaml(ALERTS)["groups"]]
    board = everything["ConfigMap/line-offhook-dashboard"]["data"]["offhook.json"]
    assert board == DASHBOARD.read_text()


def test_no_secret_is_in_what_is_rendered(plain: Objects, everything: Objects) -> None:
    for named in (plain, everything):
        assert not any(one["kind"] == "Secret" for one in named.values())
        for variable in pod(named, "gateway")["containers"][0]["env"]:
            assert "value" not in variable and set(variable["valueFrom"]) <= {"secretKeyRef", "fieldRef"}
