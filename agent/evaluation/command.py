"""`offhook eval`: which of its runs the command line asks for."""

from __future__ import annotations

import argparse
from pathlib import Path

from agent.evaluation import quick
from agent.evaluation.compare import run_compare
from agent.evaluation.full import ALL, run_full
from agent.evaluation.scenes import Family
from agent.evaluation.speech_rows import TOLD_ROWS
from agent.settings import Settings
from model.training.folds import NUM_FOLDS
from telephony.settings import CODECS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `offhook eval`."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="twenty scripted calls over SIP, about ten minutes")
    how.add_argument(
        "--offline", action="store_true", help="the same callers against the model alone, without a telephone"
    )
    how.add_argument(
        "--virtual",
        action="store_true",
        help="every row on a virtual clock, without a telephone: for trainers",
    )
    how.add_argument(
        "--compare",
        action="store_true",
        help="the same ten scenes over SIP and on the virtual clock, differences",
    )
    parser.add_argument("--uri", metavar="SIP_URI", help="call a running line instead of starting one")
    parser.add_argument("--calls", type=int, default=quick.DEFAULT_CALLS, metavar="N")
    parser.add_argument("--concurrent", type=int, default=quick.CONCURRENT, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--codec", choices=CODECS, default=quick.DEFAULT_CODEC)
    parser.add_argument(
        "--folder", type=Path, help="recordings and results (default: eval- and the run's kind)"
    )
    parser.add_argument(
        "--rows", metavar="A,B", help=f"rows (default: all): {', '.join((*Family, *TOLD_ROWS))}"
    )
    parser.add_argument("--trials", type=int, default=100, metavar="N", help="eligible trials of each kind")
    parser.add_argument("--engine", metavar="NAME", help="judge this engine instead of the configured one")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="real callers' orders and digits")
    parser.add_argument(
        "--fold",
        choices=[*map(str, range(NUM_FOLDS)), ALL],
        help="of the recordings, the fifth that training left out; `all` if it heard none of them",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Call, judge, print the table; 0 if every bar is met."""
    if args.quick or args.offline:
        return quick.run(args, settings)
    return run_compare(args, settings) if args.compare else run_full(args, settings)
