"""Rows that judge themselves, the file they are kept in, the table that shows them."""

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from agent.errors import AgentError
from agent.evaluation.metrics.intervals import Estimate, percentile, rate
from agent.evaluation.report import (
    Best,
    Report,
    Row,
    Unit,
    Verdict,
    read_json,
    table,
    write_json,
    written,
)


def row(num_right: int = 96, num: int = 100, **more: object) -> Row:
    values: dict[str, object] = {"bar": 0.95, "aim": 0.98, **more}
    return Row("yields within 2 s", Unit.SHARE, rate(num_right, num, 140), **values)  # type: ignore[arg-type]


def test_a_row_judges_itself() -> None:
    assert row().verdict is Verdict.MET and not row().is_aim_reached
    assert row(95).verdict is Verdict.MET  # at the bar
    assert row(94).verdict is Verdict.NOT_MET
    assert row(98).is_aim_reached
    assert row(bar=None).verdict is Verdict.REPORTED
    low = Row("premature", Unit.SHARE, rate(21, 100), bar=0.20, aim=0.10, is_lower_better=True)
    assert low.verdict is Verdict.NOT_MET


def test_ninety_nine_trials_give_no_verdict_and_a_void_run_none_at_all() -> None:
    few = row(99, 99)
    assert few.verdict is Verdict.TOO_FEW and not few.is_aim_reached
    assert row(2, 2, min_trials=1).verdict is Verdict.MET
    report = Report("run", [row(), few]).voided("3 deadlines missed")
    assert {one.verdict for one in report.rows} == {Verdict.VOID} and not report.is_passed
    nothing = Row("gap", Unit.SECONDS, percentile([], 50), bar=0.4, is_lower_better=True, min_trials=0)
    assert nothing.verdict is Verdict.NOT_MET  # nothing measured reaches no bar


def test_a_report_passes_when_all_that_has_a_bar_met_it() -> None:
    assert Report("run", [row(), row(1, bar=None)]).is_passed
    assert not Report("run", [row(), row(94)]).is_passed
    assert not Report("run", [row(), row(9, 9)]).is_passed
    assert not Report("run", []).is_passed


def test_the_file_is_strict_json_and_reads_back_equal(tmp_path: Path) -> None:
    best = Best("1.000", "GPT-Realtime-1.5, tau-Voice")
    report = Report("run", [row(best=best, group="floor", note="G.711")], {"commit": "1234abc"})
    path = tmp_path / "new" / "report.json"
    write_json(report, path)
    again = read_json(path)
    assert again.rows[0] == report.rows[0] and again.conditions == report.conditions
    document = json.loads(path.read_text())
    assert document["version"] == 1 and document["rows"][0]["verdict"] == "met"
    write_json(Report("run", [Row("none", Unit.SECONDS, percentile([], 50, 7))]), path)
    empty = read_json(path).rows[0].figure
    assert math.isnan(empty.value) and empty.num_attempted == 7


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(AgentError, match="holds no report"):
        read_json(path)
    for text in ("[1]", "{"):
        path.write_text(text)
        with pytest.raises(AgentError, match="holds no report"):
            read_json(path)
    path.write_text('{"schema": "offhook-report", "version": 99}')
    with pytest.raises(AgentError, match="version 99"):
        read_json(path)


def test_values_as_people_read_them() -> None:
    figures = [
        (0.942, Unit.SHARE), (0.32, Unit.SECONDS), (2.31, Unit.SCORE), (1.5, Unit.PER_MINUTE),
        (0.025, Unit.PER_SECOND), (1200.0, Unit.COUNT), (math.nan, Unit.SHARE),
    ]  # fmt: skip
    assert [written(*figure) for figure in figures] == [
        "94.2 %", "320 ms", "2.31", "1.50 per min", "0.025 per s", "1,200", "none"
    ]  # fmt: skip


def test_the_table_tells_everything_about_a_row() -> None:
    best = Best("400 ms", "telnyx-onset, live SIP")
    stop = Estimate(0.31, 0.29, 0.34, 112, 120)
    rows = [
        Row(
            "stop p50",
            Unit.SECONDS,
            stop,
            0.45,
            0.32,
            is_lower_better=True,
            best=best,
            note="of a line",
            group="the floor",
        ),
        row(9, 9, void="a deadline was missed"),
    ]
    console = Console(width=150, file=io.StringIO())
    console.print(table(Report("The run", rows)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("The run", "310 ms", "290 ms to 340 ms", "112 of 120", "≤ 450 ms", "≤ 320 ms", "400 ms",
                  "telnyx-onset, live SIP", "met, and the aim", "of a line", "void", "a deadline was missed",
                  "9 of 140", "the floor", "≥ 95.0 %"):  # fmt: skip
        assert words in text, words
