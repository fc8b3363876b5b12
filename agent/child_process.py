"""Ending a program that we started: asked first, killed if it does not listen."""

from __future__ import annotations

import subprocess


def wait_or_kill(process: subprocess.Popen[bytes] | subprocess.Popen[str], timeout_s: float) -> None:
    """Let a program that is about to end do so; kill it if it takes longer."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop(process: subprocess.Popen[bytes] | subprocess.Popen[str], timeout_s: float) -> None:
    """Ask a program to end, and see to it that it does. Harmless if it has ended."""
    process.terminate()
    wait_or_kill(process, timeout_s)
