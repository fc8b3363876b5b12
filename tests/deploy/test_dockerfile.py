"""What the image's build relies on, held to the tree without building it."""

import asyncio
import fnmatch
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from agent.control import ControlServer
from agent.settings import BUILTIN_MODEL, HttpSettings
from agent.settings_reader import load_settings, setting_names
from telephony.settings import TlsSettings
from tests.deploy.test_prometheus import NoCalls, free_port, no_keys

ROOT = Path(__file__).resolve().parents[2]
IGNORED = ROOT / "deploy" / "Dockerfile.dockerignore"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, comments left out and lines joined: ("COPY", "agent agent")."""
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("#")).replace("\\\n", "")
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line]


def copied() -> list[str]:
    """What COPY takes from the build's context."""
    words = [shlex.split(rest) for name, rest in instructions() if name == "COPY"]
    return [source for one in words if not one[0].startswith("--") for source in one[:-1]]


def is_kept(path: str) -> bool:
    """Whether the build sees this path: everything is ignored but what a later line keeps."""
    first, *rest = IGNORED.read_text().splitlines()
    assert first == "**"
    kept = [line.removeprefix("!") for line in rest if line.startswith("!")]
    return any(fnmatch.fnmatch(path, one) or path.startswith(f"{one}/") for one in kept)


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions():
        if name == "FROM":
            found[rest.split()[-1]] = []
        if found:
            list(found.values())[-1].append((name, rest))
    return found


def installed(stage: str) -> set[str]:
    """The Debian packages of one stage."""
    for name, rest in stages()[stage]:
        if name == "RUN" and "apt-get install" in rest:
            words = rest.split("apt-get install")[1].split("&&")[0].split()
            return {word for word in words if not word.startswith("-")}
    raise AssertionError(f"{stage} installs nothing")


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    assert {"agent", "telephony", "model", "pyproject.toml", "deploy/setup.sh"} <= set(copied())
    for source in copied():
        assert "*" in source or (ROOT / source).exists(), source
        assert is_kept(source.replace("*", "x")), source


def test_what_must_stay_out_is_ignored() -> None:
    for path in (
        ".git/config",
        ".env",
        "deploy/.env",
        ".venv/bin/python",
        "calls/one.flac",
        "tests/fakes.py",
    ):
        assert not is_kept(path), path


def test_what_setup_reads_is_there_before_it_runs() -> None:
    before = instructions()
    run = next(index for index, (name, rest) in enumerate(before) if name == "RUN" and "setup.sh" in rest)
    seen = {word for name, rest in before[:run] if name == "COPY" for word in rest.split()}
    assert {"deploy/setup.sh", "telephony/native", "requirements.txt", "pyproject.toml"} <= seen
    assert {"README.md", "LICENSE"} <= seen  # pyproject.toml names them
    offered = next(rest for name, rest in before[:run] if name == "COPY" and "--from=native" in rest)
    native = (ROOT / "telephony/native/build.sh").read_text()
    assert "cache=${XDG_CACHE_HOME:-$HOME/.cache}/offhook\n" in native and "store=$cache/wheels/" in native
    assert offered.split()[1:] == ["/", "/root/.cache/offhook/"]


def test_what_runs_has_every_library_that_the_sip_extension_links() -> None:
    extension = importlib.util.find_spec("_offhook_pjsua2")
    assert extension is not None and extension.origin is not None
    dynamic = subprocess.run(["readelf", "-d", extension.origin], capture_output=True, text=True, check=True)
    libraries = re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic.stdout)
    assert len(libraries) > 5
    for library in libraries:
        owners = subprocess.run(
            ["dpkg", "-S", f"*/{library}"], capture_output=True, text=True, check=True
        ).stdout
        packages = set(re.findall(r"^([^:\s]+):", owners, re.MULTILINE))
        assert packages & (installed("runtime") | {"libc6", "libgcc-s1"}), (library, packages)


def test_tls_finds_whom_to_believe() -> None:
    owner = ["dpkg", "-S", "/usr/sbin/update-ca-certificates"]
    package = subprocess.run(owner, capture_output=True, text=True, check=True).stdout.partition(":")[0]
    assert package in installed("runtime") and TlsSettings().authorities.exists()


def test_the_cpu_image_is_the_default_and_both_are_one_but_for_the_compiler() -> None:
    assert list(stages()) == ["native", "build", "runtime", "cuda", "cpu"]
    assert [rest for name, rest in instructions() if name == "FROM"] == [
        "scratch AS native",
        "${OFFHOOK_BASE} AS build",
        "${OFFHOOK_BASE} AS runtime",
        "runtime AS cuda",
        "runtime AS cpu",
    ]
    assert installed("cuda") == {"gcc", "libc6-dev", "python3-dev"}
    known = {variable for variable, _ in setting_names()}
    given = dict(word.split("=") for name, rest in stages()["cuda"] if name == "ENV" for word in rest.split())
    assert {name for name in given if name.startswith("OFFHOOK_")} <= known
    assert {value for name, value in given.items() if "CACHE" in name} <= {
        f"/var/lib/offhook/cache/{part}" for part in ("triton", "inductor")
    }


def test_it_ends_as_an_unprivileged_user_who_owns_only_the_recordings() -> None:
    for final in ("cuda", "cpu"):
        assert stages()[final][-1] == ("USER", "offhook")
    assert [name for name, _ in stages()["runtime"]].count("USER") == 0
    runs = " && ".join(rest for name, rest in instructions() if name == "RUN")
    owned = re.findall(r"(?:install -d|chown)\s[^&]*offhook[^&]*", runs)
    assert [one.split()[-1] for one in owned] == ["/var/lib/offhook"]
    assert ("VOLUME", "/var/lib/offhook") in instructions()
    given = dict(w.split("=", 1) for name, rest in stages()["runtime"] if name == "ENV" for w in rest.split())
    settings = load_settings({name: value for name, value in given.items() if name != "PATH"})
    for folder in (settings.state, settings.cache):
        assert folder is not None and folder.is_relative_to("/var/lib/offhook"), "the rest is read-only"
    assert BUILTIN_MODEL.is_relative_to(ROOT / "model")


async def checked_health(port: int) -> int:
    """The exit code of the image's HEALTHCHECK against a gateway at this port."""
    rest = next(rest for name, rest in instructions() if name == "HEALTHCHECK")
    command = json.loads(rest.partition("CMD ")[2])
    assert command[0] == "python3"
    environ = {**os.environ, "OFFHOOK_HTTP__PORT": str(port)}
    check = await asyncio.create_subprocess_exec(
        sys.executable, *command[1:], env=environ, stderr=asyncio.subprocess.DEVNULL
    )
    return await check.wait()


@pytest.mark.parametrize("is_up", [True, False])
async def test_the_health_check_tells_a_line_that_is_up_from_one_that_is_not(is_up: bool) -> None:
    if not is_up:
        assert await checked_health(free_port()) == 1
        return
    async with ControlServer(NoCalls(), HttpSettings(port=0), no_keys()) as control:
        assert await checked_health(control.port) == 0
