"""`python -m model.training`: `offhook train` for a machine that has torch and little else."""

from __future__ import annotations

import argparse
import sys

from model.errors import ModelError
from model.training import add_arguments, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m model.training", description="Train the built-in model.")
    add_arguments(parser)
    try:
        sys.exit(run(parser.parse_args()))
    except ModelError as error:
        sys.exit(f"{parser.prog}: {error}")
