"""How the built-in model is trained: speech bank -> codec -> tokens -> language model, each stage resumable.

Every stage reads and writes one working folder outside the repository and takes up where it was stopped.
"""

from __future__ import annotations

import argparse
import time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `offhook train`."""
    from model.training import options

    options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """`offhook train`: all stages; the exit code."""
    from model.training.run import train

    started = time.monotonic()
    train(args, lambda text: print(f"[{time.monotonic() - started:7.0f} s] {text}", flush=True))
    return 0
