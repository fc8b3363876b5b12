"""What a bare machine relies on before any of our Python can run."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = (
    "deploy/setup.sh",
    "deploy/build_image.sh",
    "deploy/try_image.sh",
    "telephony/native/build.sh",
    ".ci/run",
)
LOCKS = ("requirements.txt", "requirements-test.txt")


def locked(name: str) -> dict[str, str]:
    """A lock file's packages and their exact versions."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_may_be_run(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert "set -euo pipefail" in path.read_text()


@pytest.mark.parametrize("name", [*SCRIPTS, *LOCKS, "Makefile", "pyproject.toml"])
def test_no_mirror_or_index_is_named(name: str) -> None:
    assert not re.search(r"https?://|ftp://|\bpypi\b|debian\.org", (ROOT / name).read_text())


def test_the_makefile_has_every_promised_target() -> None:
    promised = {"setup", "run", "demo", "test", "bench", "train", "fmt", "lint", "types", "clean"}
    found = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert found == promised


def test_every_dependency_is_locked_to_a_version_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run = locked("requirements.txt")
    for requirement in map(Requirement, project["dependencies"]):
        if requirement.name == "torch":  # has its own rules in setup.sh
            version = re.search(r"^TORCH=(\S+)$", (ROOT / "deploy/setup.sh").read_text(), re.MULTILINE)
            assert version is not None and version[1] in requirement.specifier
        else:
            assert run[canonicalize_name(requirement.name)] in requirement.specifier, requirement.name
    assert not set(run) & set(locked("requirements-test.txt")), "a package is locked in one place"


@pytest.mark.parametrize("python", ["3.11.2", "3.12.0", "3.13.0"])
def test_the_lock_has_what_its_packages_want_on_every_python(python: str) -> None:
    here = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}
    run = set(locked("requirements.txt")) | {"torch"}
    for name in run:
        for wanted in map(Requirement, importlib.metadata.requires(name) or ()):
            if wanted.marker is None or wanted.marker.evaluate(here):
                assert canonicalize_name(wanted.name) in run, f"{name} wants {wanted}"


def test_the_reference_model_is_locked_for_tests_only() -> None:
    assert locked("requirements-test.txt")["moshi"] == "0.2.13"
    assert "moshi" not in locked("requirements.txt")


def test_triton_is_left_to_a_torch_that_wants_its_own() -> None:
    script = (ROOT / "deploy/setup.sh").read_text()
    assert re.search(r"^TRITON=\d+\.\d+\.\d+\b", script, re.MULTILINE)
    assert "if wants test; then install_triton; fi" in script
    assert not any("triton" in locked(name) for name in LOCKS), "a lock would replace what torch brought"


def test_an_unknown_group_is_refused_before_anything_is_installed() -> None:
    done = subprocess.run(
        [str(ROOT / "deploy/setup.sh"), "voice"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "unknown group 'voice'; use voices, cascade, test" in done.stderr


def test_a_tarball_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "telephony/native/build.sh"), sys.executable, "release", str(tmp_path)],
        env={
            "PATH": "/usr/bin:/bin",
            "XDG_CACHE_HOME": str(tmp_path),
            "OFFHOOK_PJPROJECT_TARBALL": "/no/such",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "OFFHOOK_PJPROJECT_TARBALL names '/no/such', which cannot be read" in done.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_an_unknown_image_is_refused_before_anything_is_built() -> None:
    done = subprocess.run(
        [str(ROOT / "deploy/build_image.sh"), "rocm"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "unknown target 'rocm'; use cpu or cuda" in done.stderr


def test_a_cache_without_a_compiled_extension_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "deploy/build_image.sh"), "cpu"],
        env={"PATH": "/usr/bin:/bin", "OFFHOOK_NATIVE_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and f"names '{tmp_path}', which holds no compiled" in done.stderr


def test_what_the_tests_of_deployment_run_is_installed() -> None:
    packages = re.search(r'^TEST_PACKAGES="([^"]+)"', (ROOT / "deploy/setup.sh").read_text(), re.MULTILINE)
    assert packages is not None and {"prometheus", "kamailio", "systemd"} <= set(packages[1].split())
