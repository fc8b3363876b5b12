"""The same scenes over real SIP and on the virtual clock: what the two ways make of one another."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from agent.evaluation.full import RunArguments, counted_misses, mark_of, virtual_line
from agent.evaluation.lines import SceneLine, sip_line
from agent.evaluation.run_folder import RunFolder
from agent.evaluation.scenes import Family, make_scene
from agent.evaluation.sitting import Note, Sitting
from agent.evaluation.trials import Json
from agent.evaluation.virtual_engine import with_engine
from agent.settings import Settings

SCENES = ((Family.DIALOGUE, 5), (Family.FLOOR, 5))
AGREE_S = 0.04  # medians of times this close agree
MIN_PAIRS = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """One time, the same trials both ways: medians, and of the paired differences the median, in seconds."""

    name: str
    num: int
    sip_s: float
    virtual_s: float
    apart_s: float  # SIP less virtual

    @property
    def agrees(self) -> bool:
        """Close, on trials enough to tell."""
        return self.num >= MIN_PAIRS and abs(self.apart_s) <= AGREE_S


def run_compare(args: argparse.Namespace, settings: Settings) -> int:
    """Hold ten scenes both ways, print the differences; 0 if the times agree."""
    asked = RunArguments.of(args)
    worker = with_engine(settings.worker, args.engine)
    root = args.folder or Path("eval-compare")
    results: list[dict[Family, list[Json]]] = []
    for is_virtual in (False, True):
        one = replace(asked, is_virtual=is_virtual)
        folder = RunFolder(
            root / ("virtual" if is_virtual else "sip"), mark_of(one, worker, settings.cascade)
        )
        folder.prepare()
        if is_virtual:
            results.append(_hold(folder, asked.seed, virtual_line(worker, asked.concurrent)))
            continue
        with (
            sip_line(asked.uri, asked.concurrent, asked.codec, folder.root / "line", worker.engine) as line,
            counted_misses(folder, line) as note,
        ):
            results.append(_hold(folder, asked.seed, line, note))
        if folder.misses:
            Console().print(f"VOID: the worker missed {folder.misses} deadlines, this machine was too busy")
            return 1
    found = differences(*results)
    Console().print(table(found))
    return 0 if all(one.agrees for one in found) else 1


def _hold(
    folder: RunFolder, seed: int, line: SceneLine, note: Note = lambda: None
) -> dict[Family, list[Json]]:
    sitting = Sitting(folder, lambda family, number: make_scene(family, number, seed), 1, note)
    return {family: sitting.hold(family, number, line) for family, number in SCENES}


def differences(sip: dict[Family, list[Json]], virtual: dict[Family, list[Json]]) -> list[Difference]:
    """Gaps and stops, paired by call and turn; what only one way has is left out."""
    return [
        _difference("response gap", _gaps(sip), _gaps(virtual)),
        _difference("barge-in stop", _stops(sip), _stops(virtual)),
    ]


_Times = dict[tuple[str, int, int], float]


def _gaps(results: dict[Family, list[Json]]) -> _Times:
    return {
        (family, call["number"], place): turn["gap_s"]
        for family, calls in results.items()
        for call in calls
        for place, turn in enumerate(call["turns"])
        if turn["gap_s"] is not None and turn["barge_in"] is None
    }


def _stops(results: dict[Family, list[Json]]) -> _Times:
    return {
        (family, call["number"], place): row["stop_s"]
        for family, calls in results.items()
        for call in calls
        for place, row in enumerate(call["interruptions"])
        if row["is_eligible"] and row["stop_s"] is not None
    }


def _difference(name: str, sip: _Times, virtual: _Times) -> Difference:
    both = sorted(set(sip) & set(virtual))
    if not both:
        return Difference(name, 0, float("nan"), float("nan"), float("nan"))
    pairs = np.array([[sip[key], virtual[key]] for key in both])
    sip_s, virtual_s = (float(value) for value in np.median(pairs, axis=0))
    return Difference(name, len(both), sip_s, virtual_s, float(np.median(pairs[:, 0] - pairs[:, 1])))


def table(found: Sequence[Difference]) -> Table:
    """The differences, to print."""
    shown = Table("", "pairs", "SIP p50", "virtual p50", "SIP less virtual, p50 of pairs", "")
    for one in found:
        times = [f"{1000 * value:.0f} ms" for value in (one.sip_s, one.virtual_s)]
        verdict = "agrees" if one.agrees else "too few" if one.num < MIN_PAIRS else "apart"
        shown.add_row(one.name, str(one.num), *times, f"{1000 * one.apart_s:+.0f} ms", verdict)
    return shown
