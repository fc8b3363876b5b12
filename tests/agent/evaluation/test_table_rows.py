"""Figures become rows with their bars; every figure that a family gives has a name."""

from agent.evaluation.figures import figures_of
from agent.evaluation.metrics.intervals import Estimate, rate
from agent.evaluation.report import Verdict
from agent.evaluation.scenes import Family
from agent.evaluation.table_rows import MEANINGS, rows_of


def verdict(key: str, figure: Estimate) -> Verdict:
    (row,) = rows_of({key: figure})
    return row.verdict


def test_bars_are_the_acceptance_tables() -> None:
    assert (
        verdict("yield", rate(95, 100)) is Verdict.MET and verdict("yield", rate(94, 100)) is Verdict.NOT_MET
    )
    assert verdict("yield", rate(99, 99)) is Verdict.TOO_FEW
    assert (
        verdict("premature", rate(20, 100)) is Verdict.MET
        and verdict("premature", rate(21, 100)) is Verdict.NOT_MET
    )
    assert verdict("self_stops_-20_db", rate(1, 100)) is Verdict.MET
    assert verdict("gap_p50", Estimate(0.41, 0.4, 0.42, 200, 200)) is Verdict.NOT_MET
    assert verdict("megabytes", Estimate(34.7, 34.7, 34.7, 1, 1)) is Verdict.MET
    assert verdict("ignored_music", rate(1, 100)) is Verdict.REPORTED
    assert MEANINGS["tone"].aim == 0.90


def test_every_figure_has_a_row_in_the_order_of_the_table() -> None:
    figures = {key: one for family in Family for key, one in figures_of(family, []).items()}
    figures["right_order"] = rate(1, 2)
    rows = rows_of(figures)
    assert len(rows) == len(figures) and len({row.name for row in rows}) == len(rows)
    groups = [row.group for row in rows]
    assert groups == sorted(groups, key=groups.index)  # each group stands together
    assert "answers right: order" in {row.name for row in rows}
