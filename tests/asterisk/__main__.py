"""Let Offhook and Asterisk 22 call each other in every way that we say works, and hear every second of it.

    sudo .venv/bin/python -m tests.asterisk [--root FOLDER] [--only NAME]... [--long] [--keep FOLDER]

Asterisk lives in a Debian unstable of its own in FOLDER, which is made by debootstrap where there is none.
Prints a table, then the same as one line of JSON. Exit status 1 if anything failed, 2 if it cannot run here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.asterisk import root
from tests.asterisk.configuration import Place
from tests.asterisk.pbx import Asterisk
from tests.asterisk.report import Verdict, as_json, table
from tests.asterisk.scenarios import ALWAYS, LONG, Scenario, run
from tests.loopback.sipp import find_free_port

DEFAULT_ROOT = Path(__file__).parents[2] / ".setup/asterisk"


def chosen(only: Sequence[str], *, is_long: bool) -> list[Scenario]:
    """What to play. Raises RigError for a name that is none."""
    known = {scenario.name: scenario for scenario in (*ALWAYS, LONG)}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise root.RigError(f"there is no scenario {', '.join(unknown)}; known: {', '.join(known)}")
    if only:
        return [known[name] for name in only]
    return [*ALWAYS, LONG] if is_long else list(ALWAYS)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit status."""
    given = _parser().parse_args(arguments)
    try:
        scenarios = chosen(given.only, is_long=given.long)
        root.needs_root()
        root.make(given.root)
        given.keep.mkdir(parents=True, exist_ok=True)
        place = Place(f"/opt/offhook-{os.getpid()}", find_free_port(), find_free_port())
        with Asterisk(given.root, place, given.keep) as asterisk:
            version, verdicts = asterisk.version, _play(scenarios, asterisk, given.keep)
    except root.RigError as error:
        print(f"asterisk: {error}", file=sys.stderr)
        return 2
    print(table(verdicts))
    print(as_json(version, verdicts))
    return 0 if all(verdict.is_right for verdict in verdicts) else 1


def _play(scenarios: Sequence[Scenario], asterisk: Asterisk, folder: Path) -> list[Verdict]:
    verdicts = []
    for scenario in scenarios:
        verdict = asyncio.run(run(scenario, asterisk, folder))
        came = "ok" if verdict.is_right else f"FAILED: {'; '.join(verdict.faults)}"
        print(f"asterisk: {scenario.name} {came}", flush=True)
        verdicts.append(verdict)
    return verdicts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.asterisk", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="Asterisk's Debian")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this scenario")
    parser.add_argument("--long", action="store_true", help="also a call of twenty minutes")
    logs = Path(tempfile.gettempdir()) / "offhook-asterisk"
    parser.add_argument("--keep", type=Path, default=logs, help="where SIP logs go")
    return parser


if __name__ == "__main__":
    sys.exit(main())
