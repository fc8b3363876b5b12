"""Some real peers need root: a network of their own, or a look at raw packets."""

import os
import shutil
import subprocess

import pytest


def as_root(command: list[str]) -> list[str]:
    """The command as root would run it; fails the test with the remedy if nobody here may."""
    if os.geteuid() == 0:
        return command
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0:
        return [sudo, "-n", *command]
    pytest.fail(
        f"`{command[0]}` must run as root here (own network, raw packets): run the tests as root, "
        "or allow this user to use sudo without a password"
    )
