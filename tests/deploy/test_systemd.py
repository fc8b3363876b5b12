"""The units: systemd's own checks, and that what they name exists."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from agent.settings_reader import load_settings, setting_names
from agent.worker import parse_arguments
from tests.deploy.test_manifests import DEPLOY

UNITS = ("offhook-gateway.service", "offhook-worker.service")
MOST_EXPOSED = 25  # of 100, as `systemd-analyze security` counts
PLACE = "/opt/offhook"


def text(unit: str) -> str:
    return (DEPLOY / "systemd" / unit).read_text()


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text(unit), re.MULTILINE)


def environment(unit: str) -> dict[str, str]:
    return dict(word.split("=", 1) for line in values(unit, "Environment") for word in line.split())


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_to_mend(unit: str, tmp_path: Path) -> None:
    here = tmp_path / unit  # the same, in this tree's place: it looks for what is started
    here.write_text(text(unit).replace(PLACE, str(DEPLOY.parent)))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", here], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_shut_off_from_the_rest_of_the_machine(unit: str) -> None:
    checked = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}",
         DEPLOY / "systemd" / unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout[-200:]
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictNamespaces", "LockPersonality"):
        assert values(unit, key) == ["yes"], key
    assert values(unit, "ProtectSystem") == ["strict"] and values(unit, "CapabilityBoundingSet") == [""]


@pytest.mark.parametrize("unit", UNITS)
def test_a_stop_waits_for_the_calls(unit: str) -> None:
    given = environment(unit)
    drain_s = float(given.get("OFFHOOK_DRAIN_TIMEOUT_S") or given["WORKER_DRAIN_S"])
    assert float(values(unit, "TimeoutStopSec")[0]) >= drain_s + 30
    # To the gateway alone: workers and Redis that end with it would end its calls.
    assert values(unit, "KillMode") == ["mixed"] and values(unit, "KillSignal") == ["SIGTERM"]
    assert values(unit, "RestartPreventExitStatus") == ["2"]


def test_the_gateway_can_read_its_settings() -> None:
    given = environment(UNITS[0])
    assert set(given) <= {variable for variable, _ in setting_names()}
    settings = load_settings(given)
    assert settings.state is not None and settings.state.parts[:3] == ("/", "var", "lib")
    assert values(UNITS[0], "StateDirectory") == ["offhook"] == values(UNITS[0], "CacheDirectory")


def test_the_worker_can_read_its_command_line(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef")
    command = values(UNITS[1], "ExecStart")[0].replace("%d", str(tmp_path)).replace("%H", "machine-1")
    for name, value in {**environment(UNITS[1]), "WORKER_ARGUMENTS": "--slots 3 --device cuda"}.items():
        command = command.replace(f"${{{name}}}", value).replace(f"${name}", value)
    python, *words = shlex.split(command)
    assert python == f"{PLACE}/.venv/bin/python" and words[:2] == ["-m", "agent.worker"]
    config = parse_arguments(words[2:])
    assert config.num_slots == 3 and config.worker_id == "machine-1" and config.address.port == 7400
    assert config.drain_timeout_s == 3600


def test_everything_runs_as_one_user_whose_number_is_the_image_s() -> None:
    kind, name, number = text("offhook.sysusers").splitlines()[-1].split()[:3]
    assert kind == "u" and f"--uid {number} " in (DEPLOY / "Dockerfile").read_text()
    assert all(values(unit, "User") == [name] == values(unit, "Group") for unit in UNITS)
