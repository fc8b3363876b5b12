"""Results as rows that judge themselves: a table for people, JSON for programs; the page is `report_page`.

A row holds a figure with its interval, what it rests on, what it must reach, and what the best published
system reaches. It gives no verdict on fewer eligible trials than it asks for, and none where the run is void.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from agent.errors import AgentError
from agent.evaluation.metrics.intervals import MIN_TRIALS, Estimate

SCHEMA = "offhook-report"
SCHEMA_VERSION = 1


class Unit(StrEnum):
    """How a value is written; stored values are shares of 1, seconds, and plain numbers."""

    SHARE = "share"
    SECONDS = "s"
    PER_MINUTE = "per min"
    PER_SECOND = "per s"
    COUNT = "count"
    SCORE = "score"


class Verdict(StrEnum):
    """What a row says."""

    MET = "met"
    NOT_MET = "not met"
    TOO_FEW = "too few"  # eligible trials
    VOID = "void"
    REPORTED = "reported"  # it has no bar


@dataclass(frozen=True, slots=True)
class Best:
    """The best published value, as its source gives it, and how it was measured there."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `bar` must be reached, `aim` is hoped for; both may be None."""

    name: str
    unit: Unit
    figure: Estimate
    bar: float | None = None
    aim: float | None = None
    is_lower_better: bool = False
    best: Best | None = None
    min_trials: int = MIN_TRIALS
    group: str = ""
    note: str = ""
    void: str = ""  # why it does not count

    @property
    def verdict(self) -> Verdict:
        """Void before too few before the bar; a NaN reaches no bar."""
        if self.void:
            return Verdict.VOID
        if self.bar is None:
            return Verdict.REPORTED
        if self.figure.num_eligible < self.min_trials:
            return Verdict.TOO_FEW
        return Verdict.MET if self._reaches(self.bar) else Verdict.NOT_MET

    @property
    def is_aim_reached(self) -> bool:
        """The row counts, and its value is at least as good as the aim."""
        counts = self.verdict in (Verdict.MET, Verdict.NOT_MET)
        return counts and self.aim is not None and self._reaches(self.aim)

    def _reaches(self, bound: float) -> bool:
        slack = 1e-9  # 0.95 may be written as 19 / 20
        value = self.figure.value
        return value <= bound + slack if self.is_lower_better else value >= bound - slack

    def as_json(self) -> dict[str, Any]:
        """Plain values, NaN as None, with the verdict that follows from them."""
        row = asdict(self)
        row["figure"] = {key: None if _is_nan(value) else value for key, value in row["figure"].items()}
        return {**row, "verdict": self.verdict.value, "is_aim_reached": self.is_aim_reached}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Row:
        """What `as_json` gave; verdicts are worked out anew."""
        fields = {key: value for key, value in row.items() if key not in ("verdict", "is_aim_reached")}
        figure: dict[str, Any] = {
            key: math.nan if value is None else value for key, value in fields["figure"].items()
        }
        best = Best(**fields["best"]) if fields["best"] else None
        return cls(**{**fields, "unit": Unit(fields["unit"]), "figure": Estimate(**figure), "best": best})


@dataclass(frozen=True, slots=True)
class Report:
    """All rows of one run, and under what conditions they were measured (model, hardware, line, commit)."""

    title: str
    rows: Sequence[Row]
    conditions: dict[str, str] = field(default_factory=dict)

    @property
    def is_passed(self) -> bool:
        """Every row that has a bar met it."""
        judged = [row.verdict for row in self.rows if row.verdict is not Verdict.REPORTED]
        return bool(judged) and all(verdict is Verdict.MET for verdict in judged)

    def voided(self, why: str) -> Report:
        """The same with no row counting: the figures stay, to see what happened."""
        return replace(self, rows=[replace(row, void=row.void or why) for row in self.rows])

    def as_json(self) -> dict[str, Any]:
        """The document that `write_json` writes."""
        rows = [row.as_json() for row in self.rows]
        head = {"schema": SCHEMA, "version": SCHEMA_VERSION, "title": self.title}
        return {**head, "conditions": self.conditions, "is_passed": self.is_passed, "rows": rows}


def write_json(report: Report, path: Path) -> None:
    """Write the report; strict JSON, so that any reader takes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report.as_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Report:
    """Read what `write_json` wrote; raises AgentError if it is something else or of another version."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document.get("schema"), document.get("version")
    except (OSError, ValueError, AttributeError) as error:
        raise AgentError(f"{path} holds no report ({error}): give one that `offhook eval` wrote") from error
    if found != (SCHEMA, SCHEMA_VERSION):
        raise AgentError(
            f"{path} is {found[0]} version {found[1]}, not {SCHEMA} {SCHEMA_VERSION}: run it again"
        )
    return Report(document["title"], [Row.from_json(row) for row in document["rows"]], document["conditions"])


_MARKS = {
    Verdict.MET: ("met", "bold green"),
    Verdict.NOT_MET: ("not met", "bold red"),
    Verdict.TOO_FEW: ("too few", "yellow"),
    Verdict.VOID: ("void", "magenta"),
    Verdict.REPORTED: ("", ""),
}


def table(report: Report) -> Table:
    """The table to print: a line a row, groups parted and named, reasons below the name."""
    shown = Table(title=report.title, title_justify="left", title_style="bold", pad_edge=False)
    shown.add_column("")
    for heading in ("measured", "95 % interval", "trials", "bar", "aim"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("best published")
    shown.add_column("", no_wrap=True)
    group = ""
    for row in report.rows:
        if row.group != group:
            shown.add_section()
            shown.add_row(Text(row.group, style="bold"))
            group = row.group
        shown.add_row(*_cells(row))
    return shown


def _cells(row: Row) -> tuple[Text | str, ...]:
    figure, sign = row.figure, "≤" if row.is_lower_better else "≥"
    name = Text(row.name)
    for line in (row.note, row.void):
        if line:
            name.append(f"\n{line}", style="dim")
    word, style = _MARKS[row.verdict]
    trials = str(figure.num_eligible)
    if figure.num_attempted != figure.num_eligible:
        trials += f" of {figure.num_attempted}"
    best = Text(row.best.text) if row.best else Text("")
    if row.best:
        best.append(f"\n{row.best.source}", style="dim")
    low, high = written(figure.low, row.unit), written(figure.high, row.unit)
    return (
        name,
        written(figure.value, row.unit),
        "" if _is_nan(figure.low) else f"{low} to {high}",
        trials,
        "" if row.bar is None else f"{sign} {written(row.bar, row.unit)}",
        "" if row.aim is None else f"{sign} {written(row.aim, row.unit)}",
        best,
        Text(f"{word}, and the aim" if row.is_aim_reached else word, style=style),
    )


def written(value: float, unit: Unit) -> str:
    """A value as people read it: 94.2 %, 320 ms, 2.31."""
    if _is_nan(value):
        return "none"
    if unit is Unit.SHARE:
        return f"{100 * value:.1f} %"
    if unit is Unit.SECONDS:
        return f"{1000 * value:,.0f} ms"
    if unit is Unit.COUNT:
        return f"{value:,.0f}"
    per = "" if unit is Unit.SCORE else f" {unit.value}"
    return f"{value:.3f}{per}" if unit is Unit.PER_SECOND else f"{value:.2f}{per}"


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
