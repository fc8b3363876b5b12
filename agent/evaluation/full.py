"""`offhook eval` without a flag: every row, over real SIP; with `--virtual`, on a virtual clock."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from agent.errors import AgentError
from agent.evaluation.figures import Figures, figures_of
from agent.evaluation.lines import SceneLine, SipLine, VirtualLine, deadline_misses, sip_line
from agent.evaluation.page_material import material_of
from agent.evaluation.quick import engine_mark
from agent.evaluation.real_callers import RealCallers, find_callers
from agent.evaluation.report import Report, table, write_json
from agent.evaluation.report_page import draw_page
from agent.evaluation.run_folder import RunFolder
from agent.evaluation.scenes import REAL, Family, make_scene
from agent.evaluation.sitting import Note, Sitting
from agent.evaluation.speech_rows import TOLD_ROWS, ToldRows
from agent.evaluation.table_rows import rows_of
from agent.evaluation.trials import Json
from agent.evaluation.virtual_engine import build_engine, with_engine
from agent.machine import cpu_name
from agent.profile import load_tokens
from agent.settings import CascadeSettings, Settings, WorkerSettings

ALL = "all"  # folds
TABLE_COLUMNS = 150  # narrower, the table cannot be read

console = Console()


@dataclass(frozen=True, slots=True)
class RunArguments:
    """What the command line asks of a full run."""

    families: tuple[Family, ...]
    told: tuple[str, ...]  # rows without calls
    trials: int
    seed: int
    concurrent: int
    is_virtual: bool
    folder: Path
    uri: str | None
    codec: str
    recordings: Path | None
    fold: int | None

    @classmethod
    def of(cls, args: argparse.Namespace) -> RunArguments:
        """Checked. Raises AgentError that names the argument."""
        if args.trials < 1 or args.concurrent < 1:
            raise AgentError("--trials and --concurrent count from 1")
        if args.virtual and args.uri:
            raise AgentError("--virtual calls nobody: leave --uri out")
        families, told = _rows(args.rows)
        _check_recordings(args, families)
        folder = args.folder or Path("eval-virtual" if args.virtual else "eval-full")
        return cls(
            families, told, args.trials, args.seed, args.concurrent, args.virtual, folder, args.uri,
            args.codec, args.recordings, None if args.fold in (None, ALL) else int(args.fold),
        )  # fmt: skip


def _check_recordings(args: argparse.Namespace, families: tuple[Family, ...]) -> None:
    if args.fold is not None and args.recordings is None:
        raise AgentError("--fold splits recordings: give --recordings, too")
    if args.recordings is not None and args.fold is None:
        raise AgentError(
            "--recordings without --fold would call with what the model may have been trained on: "
            f"give the fold that training left out, or `--fold {ALL}` if it heard none of them"
        )
    real = [family for family in families if family in REAL]
    if args.rows is not None and real and args.recordings is None:
        raise AgentError(f"--rows {real[0]} calls with recordings of people: give --recordings and --fold")


def _rows(names: str | None) -> tuple[tuple[Family, ...], tuple[str, ...]]:
    if names is None:
        return tuple(Family), TOLD_ROWS
    wanted = names.split(",")
    if unknown := sorted(set(wanted) - {*Family, *TOLD_ROWS}):
        raise AgentError(f"--rows has no {unknown[0]!r}; choose from {', '.join((*Family, *TOLD_ROWS))}")
    told = tuple(row for row in TOLD_ROWS if row in wanted)
    return tuple(family for family in Family if family in wanted), told


def run_full(args: argparse.Namespace, settings: Settings) -> int:
    """Call, judge, print the table, write report and page; 0 if every row that has a bar met it."""
    asked = RunArguments.of(args)
    worker = with_engine(settings.worker, args.engine)
    folder = RunFolder(asked.folder, mark_of(asked, worker, settings.cascade))
    folder.prepare()
    callers = find_callers(asked.recordings, asked.fold) if asked.recordings else None
    sitting = Sitting(
        folder, lambda family, number: make_scene(family, number, asked.seed, callers), asked.trials
    )
    families = [family for family in asked.families if is_callable(family, callers)]
    if args.rows is not None and (missing := set(asked.families) - set(families)):
        raise AgentError(f"{asked.recordings} has nobody for the row {min(missing)}: list such recordings")
    results: dict[Family, list[Json]] = {}
    if families:
        with _line(asked, worker, folder) as (line, sitting.note):
            for family in families:
                results[family] = sitting.run(family, line)
    figures: Figures = {}
    for family, calls in results.items():
        figures |= figures_of(family, calls)
    figures |= _told_figures(asked, worker, folder, sitting)
    report = make_report(asked, worker, figures, folder.misses)
    write_json(report, asked.folder / "report.json")
    notes = [f"{name}: {value}" for name, value in report.conditions.items()]
    pages = draw_page(material_of(results, figures, notes), report.title, asked.folder)
    Console(width=max(console.width, TABLE_COLUMNS)).print(table(report))
    console.print(f"{asked.folder / 'report.json'}, {', '.join(map(str, pages))}", highlight=False)
    return 0 if report.is_passed else 1


def is_callable(family: Family, callers: RealCallers | None) -> bool:
    """Whether there is somebody to call: real callers only where recordings were given."""
    wanted = {Family.REAL_ORDERS: callers and callers.orders, Family.REAL_NUMBERS: callers and callers.digits}
    return bool(wanted.get(family, True))


def _told_figures(
    asked: RunArguments, worker: WorkerSettings, folder: RunFolder, sitting: Sitting
) -> Figures:
    """The rows without calls, each kept in the folder once it is known."""
    if asked.uri is not None or not asked.told:
        return {}
    rows = ToldRows(worker, asked.concurrent, asked.trials, asked.seed, sitting.judge)
    figures: Figures = {}
    for row in asked.told:
        figures |= folder.figures(row, asked.trials, lambda row=row: rows.figures(row))  # type: ignore[misc]
    return figures


def mark_of(asked: RunArguments, worker: WorkerSettings, cascade: CascadeSettings) -> Json:
    """What makes a folder this run's."""
    model = asked.uri or engine_mark(worker, cascade)
    mode = "virtual" if asked.is_virtual else asked.codec
    held_out = [str(asked.recordings.resolve()) if asked.recordings else "", asked.fold]
    return {
        "seed": asked.seed, "mode": mode, "engine": worker.engine, "kv": worker.kv, "model": model,
        "recordings": held_out,
    }  # fmt: skip


@contextmanager
def _line(asked: RunArguments, worker: WorkerSettings, folder: RunFolder) -> Iterator[tuple[SceneLine, Note]]:
    if asked.is_virtual:
        yield virtual_line(worker, asked.concurrent), lambda: None
        return
    recordings = asked.folder / "line"
    with (
        sip_line(asked.uri, asked.concurrent, asked.codec, recordings, worker.engine) as line,
        counted_misses(folder, line) as note,
    ):
        yield line, note


def virtual_line(worker: WorkerSettings, slots: int) -> VirtualLine:
    """The operator's engine, loaded into this process."""
    return VirtualLine(build_engine(worker, slots), load_tokens(worker))


@contextmanager
def counted_misses(folder: RunFolder, line: SipLine) -> Iterator[Note]:
    """Add this sitting's deadline misses to the run's, whenever what is yielded is called, and at the end.

    Called before each scene is kept, no scene is there without its misses, wherever a sitting breaks off.
    """
    known, before = folder.misses, deadline_misses(line)

    def note() -> None:
        after = deadline_misses(line)
        is_known = known is not None and before is not None and after is not None
        folder.note_misses(known + after - before if is_known else None)  # type: ignore[operator]

    note()
    yield note
    note()


def make_report(asked: RunArguments, worker: WorkerSettings, figures: Figures, misses: int | None) -> Report:
    """The rows with their conditions; void where the worker missed deadlines."""
    how = "virtual clock" if asked.is_virtual else f"SIP, {asked.codec}"
    fold = ALL if asked.fold is None else asked.fold
    conditions = {
        "line": asked.uri or how, "engine": worker.engine, "model": worker.model_dir.name, "cpu": cpu_name(),
        "at once": str(asked.concurrent), "trials": str(asked.trials), "seed": str(asked.seed),
        "deadline misses": "not known" if misses is None else str(misses),
        "recordings": "none" if asked.recordings is None else f"{asked.recordings.name}, fold {fold}",
    }  # fmt: skip
    report = Report(f"{worker.engine}, {how}", rows_of(figures), conditions)
    if misses:
        return report.voided(f"the worker missed {misses} deadlines: this machine was too busy to measure")
    return report
