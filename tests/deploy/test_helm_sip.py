"""TLS and trunks in the chart: what a pod is given, laid out as by a kubelet, is what a gateway reads."""

import asyncio
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.check_network import trunks
from agent.dial_plan import DialPlan
from agent.dial_plan_watch import DialPlanBook
from agent.findings import Level
from agent.settings import Settings
from agent.settings_reader import load_settings, setting_names
from agent.standin_tokens import StandInTokens
from tests.deploy.test_helm import NEWEST, OLDEST, Objects, environment, helm, objects, pod
from tests.loopback.certificates import Authority

TRUNKS = """\
trunks:
  carrier:
    transport: tls
    servers: ["sip1.example.net:5061"]
    user: "4930123456"
    credentials: {user: "4930123456", password: {file: /run/secrets/trunks/carrier/password}}
    registration: {expires_s: 300}
    peers: ["192.0.2.0/28"]
    srtp: off # YAML 1.1 would take this word for false, and the number below for one
lines:
  - {called: "+4930123456", trunk: carrier}
"""
CHANGED = TRUNKS.replace("+4930123456", "+4930654321")
TLS = {"existingSecret": "certificate", "authorities": "ca.crt", "clientCertificates": True}
INLINE: dict[str, Any] = {"sip": {"tls": TLS, "trunksFile": {"content": TRUNKS, "secrets": ["carrier"]}}}
OTHER_CONTENT: dict[str, Any] = {
    "sip": {"tls": TLS, "trunksFile": {"content": CHANGED, "secrets": ["carrier"]}}
}
OTHER_PORT: dict[str, Any] = {"sip": {**INLINE["sip"], "tls": {**TLS, "port": 5071}}}
BY_SECRET: dict[str, Any] = {"sip": {"trunksFile": {"existingSecret": "plan", "key": "line.yaml"}}}
BY_MAP: dict[str, Any] = {
    "sip": {**INLINE["sip"], "trunksFile": {"configMap": "plan", "secrets": ["carrier"]}},
    "gateway": {"hostNetwork": False, "allowedPeers": ["198.51.100.0/24"]},
    "networkPolicy": {"sipFrom": ["192.0.2.0/28"]},
}
RENDERED = (INLINE, OTHER_CONTENT, OTHER_PORT, BY_SECRET, BY_MAP)
REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"sip": {"trunksFile": {"content": TRUNKS, "configMap": "plan"}}}, "more than one of content"),
    ({"sip": {"trunksFile": {"secrets": ["carrier"]}}}, "sip.trunksFile.secrets are named by a file"),
    ({**BY_SECRET, "gateway": {"hostNetwork": False}}, "networkPolicy.sipFrom"),
    ({"sip": {"trunksFile": {"content": {"trunks": {}}}}}, "/sip/trunksFile/content"),
    ({"sip": {"tls": {"existingSecret": "certificate", "port": 443}}}, "/sip/tls/port"),
)


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    return helm([*(values for values, _ in REFUSED), *RENDERED])


@pytest.fixture(scope="module")
def rendered(answers: list[dict[str, Any]]) -> list[Objects]:
    """The objects of each of RENDERED."""
    return [objects(answer) for answer in answers[len(REFUSED) : -1]]


class Node:
    """The files of one pod as a kubelet lays them: each key a link into a folder that is swapped whole."""

    def __init__(self, root: Path, named: Objects, secrets: dict[str, dict[str, str]]) -> None:
        self.root, self._secrets = root, secrets
        spec = pod(named, "gateway")
        self._places = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
        self._volumes = {one["name"]: one for one in spec["volumes"] if {"secret", "configMap"} & set(one)}
        assert not any("subPath" in mount for mount in spec["containers"][0]["volumeMounts"])
        self.renew(named)

    def renew(self, named: Objects) -> None:
        """Bring what the objects hold now into the pod."""
        for name, volume in self._volumes.items():
            if "secret" in volume:
                held = self._secrets[volume["secret"]["secretName"]]
            else:
                held = named[f"ConfigMap/{volume['configMap']['name']}"]["data"]
            self._swap(self.root / self._places[name].lstrip("/"), held)

    def _swap(self, place: Path, held: dict[str, str]) -> None:
        place.mkdir(parents=True, exist_ok=True)
        before = (place / "..data").resolve() if (place / "..data").exists() else None
        new = place / f"..{len(list(place.iterdir()))}"
        new.mkdir()
        for key, text in held.items():
            (new / key).write_text(text.replace("/run/secrets", f"{self.root}/run/secrets"))
            if not (place / key).is_symlink():
                (place / key).symlink_to(f"..data/{key}")
        (place / "..data_tmp").symlink_to(new.name)
        (place / "..data_tmp").rename(place / "..data")
        if before is not None:
            shutil.rmtree(before)

    def settings(self, named: Objects) -> Settings:
        """What the gateway of this pod reads."""
        given = environment(named)
        assert set(given) <= {variable for variable, _ in setting_names()}
        mounted = tuple(self._places[name] for name in self._volumes)
        return load_settings(
            {
                key: f"{self.root}{value}" if value.startswith(mounted) else value
                for key, value in given.items()
            }
        )


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, dict[str, str]]:
    """The Secrets that the values name, with a certificate by an authority of our own."""
    authority = Authority(tmp_path, "lab")
    certificate, key = authority.issue("gateway")
    return {
        "certificate": {"tls.crt": certificate.read_text(), "tls.key": key.read_text()}
        | {"ca.crt": authority.file.read_text()},
        "carrier": {"password": "a password"},
        "plan": {"line.yaml": TRUNKS.replace("transport: tls", "transport: tcp")},
    }


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_what_cannot_be_meant_is_refused_by_name(answers: list[dict[str, Any]], index: int) -> None:
    assert REFUSED[index][1] in answers[index].get("refused", ""), answers[index]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_every_object(rendered: list[Objects], version: str) -> None:
    validate = importlib.import_module("kubernetes_validate").validate
    for named in (rendered[0], *rendered[3:]):
        for one in named.values():
            if one["metadata"]["name"].endswith(("-gateway", "-trunks")):
                validate(one, version, strict=True)


def test_a_gateway_starts_with_what_its_pod_is_given(
    rendered: list[Objects], secrets: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    settings = Node(tmp_path / "pod", rendered[0], secrets).settings(rendered[0])
    assert settings.sip.transports == ("udp", "tcp", "tls") and settings.sip.tls.port == 5061
    assert settings.sip.tls.client_certificates and settings.sip.allowed_peers == ()
    assert settings.sip.tls.authorities.read_text() == secrets["certificate"]["ca.crt"]
    (finding,) = trunks(settings)
    assert finding.level is Level.OK and finding.what.startswith("1 trunks and 1 lines"), finding


def test_a_file_without_tls_or_from_a_secret_is_found_too(
    rendered: list[Objects], secrets: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    secrets["plan"]["line.yaml"] = secrets["plan"]["line.yaml"].replace("/run/secrets/trunks", str(tmp_path))
    (tmp_path / "carrier").mkdir()
    (tmp_path / "carrier" / "password").write_text("a password")
    settings = Node(tmp_path / "pod", rendered[3], secrets).settings(rendered[3])
    assert settings.sip.transports == ("udp", "tcp") and settings.sip.tls.certificate is None
    assert [finding.level for finding in trunks(settings)] == [Level.OK]


async def test_a_change_of_the_file_reaches_a_gateway_without_a_restart(
    rendered: list[Objects], secrets: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    before, after = rendered[:2]
    assert {name: one for name, one in before.items() if one != after[name]}.keys() == {
        "ConfigMap/line-offhook-trunks"
    }
    node = Node(tmp_path / "pod", before, secrets)
    settings = node.settings(before)
    book, applied = DialPlanBook(settings, {}, StandInTokens()), asyncio.Queue[DialPlan]()
    watch = asyncio.create_task(book.watch(applied.put, look_s=0.01))
    try:
        assert [line.called for line, _ in book.plan.lines] == ["+4930123456"]
        node.renew(after)
        changed = await asyncio.wait_for(applied.get(), 10)
        assert [line.called for line, _ in changed.lines] == ["+4930654321"]
    finally:
        watch.cancel()


def test_another_port_restarts_gateways_and_is_open(rendered: list[Objects]) -> None:
    before, after = (rendered[index]["Deployment/line-offhook-gateway"] for index in (0, 2))
    assert before["spec"]["template"]["metadata"] != after["spec"]["template"]["metadata"]
    for deployment, port in ((before, 5061), (after, 5071)):
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        assert {"name": "sip-tls", "containerPort": port, "protocol": "TCP"} in container["ports"]
    assert "sip-tls" not in json.dumps(rendered[3])


def test_a_policy_lets_trunks_in_by_tls(rendered: list[Objects]) -> None:
    sip = rendered[4]["NetworkPolicy/line-offhook-gateway"]["spec"]["ingress"][0]
    assert [one["ipBlock"]["cidr"] for one in sip["from"]] == ["198.51.100.0/24", "192.0.2.0/28"]
    assert {"port": 5061, "protocol": "TCP"} in sip["ports"]
    assert "ConfigMap/line-offhook-trunks" not in rendered[4], "the file is somebody else's"
