"""A Debian with Asterisk in a folder of its own, by root: Debian 12 has none, unstable the current one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SUITE = "sid"
PACKAGES = ("asterisk", "asterisk-modules", "asterisk-config")
PROGRAM = Path("usr/sbin/asterisk")


class RigError(Exception):
    """The trial cannot run here; the text names cause and remedy."""


def needs_root() -> None:
    """Raise RigError for anybody else."""
    if os.geteuid() != 0:
        raise RigError("chroot needs root: run it by sudo")


def make(folder: Path) -> None:
    """Have Asterisk in `folder`: what is there stays, what is not comes by apt's own mirror. Raises RigError.

    Takes a minute, 600 MB and a download of 150 MB where there is nothing.
    """
    if (folder / PROGRAM).exists():
        return
    if shutil.which("debootstrap") is None:
        raise RigError("debootstrap is missing. As root, run: apt-get install debootstrap")
    if not (folder / "etc/debian_version").exists():
        include = "--include=ca-certificates"
        _run(["debootstrap", "--variant=minbase", include, SUITE, str(folder), _mirror()], "debootstrap")
    _let_apt_reach_the_mirror(folder)
    no_services = folder / "usr/sbin/policy-rc.d"
    no_services.write_text("#!/bin/sh\nexit 101\n")
    no_services.chmod(0o755)
    in_root = ["chroot", str(folder), "env", "DEBIAN_FRONTEND=noninteractive"]
    _run([*in_root, "update-ca-certificates"], "update-ca-certificates")
    _run([*in_root, "apt-get", "-q", "update"], "apt-get update")
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES]
    _run([*in_root, *install], "apt-get install")
    _run([*in_root, "apt-get", "clean"], "apt-get clean")


def _let_apt_reach_the_mirror(folder: Path) -> None:
    """Take over how this machine reaches it: proxies, certificates, names."""
    for path in Path("/etc/apt/apt.conf.d").iterdir():
        if "Acquire" in path.read_text(errors="replace"):
            shutil.copy(path, folder / "etc/apt/apt.conf.d")
    certificates = Path("/usr/local/share/ca-certificates")
    if certificates.is_dir():
        shutil.copytree(certificates, folder / certificates.relative_to("/"), dirs_exist_ok=True)
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")


def _mirror() -> str:
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout.split()
    found = sorted({one for one in listed if "security" not in one})
    if not found:
        raise RigError("apt has no package mirror configured; configure one in /etc/apt/sources.list")
    return found[0]


def _run(command: list[str], name: str) -> None:
    print(f"asterisk: {name}", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise RigError(f"{name} failed:\n{last}\nCheck the network and the mirror that apt is given.")
