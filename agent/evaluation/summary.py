"""Figures over many judged calls, and the table that holds them against the bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table

from agent.evaluation.scores import DEAD_AIR_S, Spread, spread

Json = dict[str, Any]

LIVE_APART_S = 0.04
OF_A_LINE = ("response gap p50", "response gap p95", "barge-in stop p50", "worker deadline misses")


@dataclass(frozen=True, slots=True)
class Share:
    """k of n."""

    right: int
    num: int

    @property
    def value(self) -> float:
        """k / n; NaN for none."""
        return self.right / self.num if self.num else math.nan

    def __str__(self) -> str:
        return f"{self.right}/{self.num} ({self.value:.0%})" if self.num else "none"


def share(rows: Iterable[Json], is_right: Callable[[Json], Any]) -> Share:
    """How many rows are right."""
    flags = [bool(is_right(row)) for row in rows]
    return Share(sum(flags), len(flags))


@dataclass(frozen=True, slots=True)
class Summary:
    """A run's figures; times in seconds."""

    calls: int
    turns: int  # with words, whatever became of them
    judged: int  # turns whose answer the script let finish
    order_share: Share  # of the judged
    pause_share: Share
    greetings: Share
    orders: Share
    fixed: Share
    asked_after_silence: Share
    gaps: Spread
    misses: Share
    dead_air: Share
    early: Share
    eligible: Share
    yields: Share
    stops: Spread
    gaps_after_stop: Spread


def summarise(calls: Sequence[Json]) -> Summary:
    """Figures over calls as `CallOutcome.as_json` wrote them."""
    rows = [row for call in calls for row in call["turns"]]
    spoken = [row for row in rows if row["intent"] != "silence"]
    judged = [row for row in spoken if row["is_judged"]]
    trials = [row for row in spoken if row["barge_in"]]
    eligible = [row for row in trials if row["barge_in"]["is_eligible"]]
    stops = [row["barge_in"]["stop_s"] for row in eligible if row["barge_in"]["stop_s"] is not None]
    gaps = [row["gap_s"] for row in spoken if row["gap_s"] is not None]
    return Summary(
        calls=len(calls),
        turns=len(spoken),
        judged=len(judged),
        order_share=share(judged, lambda row: row["intent"] == "order"),
        pause_share=share(judged, lambda row: row["pauses"]),
        greetings=share(calls, lambda call: call["is_greeting_right"]),
        orders=share([row for row in judged if row["intent"] == "order"], lambda row: row["is_right"]),
        fixed=share([row for row in judged if row["intent"] != "order"], lambda row: row["is_right"]),
        asked_after_silence=share([r for r in rows if r["intent"] == "silence"], lambda r: r["is_right"]),
        gaps=spread(gaps),
        misses=share(spoken, lambda row: row["is_miss"]),
        dead_air=share([{"gap": gap} for gap in gaps], lambda row: row["gap"] > DEAD_AIR_S),
        early=share(spoken, lambda row: row["early_starts"]),
        eligible=share(trials, lambda row: row["barge_in"]["is_eligible"]),
        yields=share(eligible, lambda row: row["barge_in"]["stop_s"] is not None),
        stops=spread(stops),
        gaps_after_stop=spread([row["gap_s"] for row in eligible if row["gap_s"] is not None]),
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the table: a figure, and what it must reach."""

    name: str
    figure: str
    bar: str
    is_met: bool | None  # None: reported, without a bar


def bars(
    summary: Summary,
    deadline_misses: int | None,
    live_gaps_s: Sequence[float] = (),
    *,
    is_offline: bool = False,
) -> list[Bar]:
    """Every figure with its bar; `live_gaps_s` are what the line itself measured in the same calls.

    Offline there is no telephone, so that its times are reported without a bar.
    """
    lines = _all_bars(summary, deadline_misses, live_gaps_s)
    if not is_offline:
        return lines
    return [replace(line, bar="", is_met=None) if line.name in OF_A_LINE else line for line in lines]


def _all_bars(summary: Summary, deadline_misses: int | None, live_gaps_s: Sequence[float]) -> list[Bar]:
    s, ms = summary, _ms
    missed = "not known" if deadline_misses is None else str(deadline_misses)
    return [
        Bar("greetings right", str(s.greetings), ">= 95 % of 20", _at_least(s.greetings, 0.95, 20)),
        Bar("judged turns", str(s.judged), ">= 100", s.judged >= 100),
        Bar("of them orders with all slots", str(s.order_share), ">= 40 %", _at_least(s.order_share, 0.4)),
        Bar("of them with a pause", str(s.pause_share), ">= 30 %", _at_least(s.pause_share, 0.3)),
        Bar("fixed intents right", str(s.fixed), ">= 70 %", _at_least(s.fixed, 0.7)),
        Bar("orders right", str(s.orders), ">= 50 %", _at_least(s.orders, 0.5)),
        Bar("response gap p50", f"{ms(s.gaps.p50)} [{ms(s.gaps.low)}, {ms(s.gaps.high)}]", "<= 500 ms",
            s.gaps.p50 <= 0.5),
        Bar("response gap p95", f"{ms(s.gaps.p95)} of {s.gaps.num}", "<= 800 ms", s.gaps.p95 <= 0.8),
        Bar("early starts", str(s.early), "<= 10 %", s.early.num > 0 and s.early.value <= 0.1),
        Bar("barge-ins eligible", str(s.eligible), ">= 30", s.eligible.right >= 30),
        Bar("barge-ins yielded in 2 s", str(s.yields), ">= 90 %", _at_least(s.yields, 0.9)),
        Bar("barge-in stop p50", ms(s.stops.p50), "<= 600 ms", s.stops.p50 <= 0.6),
        Bar("worker deadline misses", missed, "0", None if deadline_misses is None else deadline_misses == 0),
        *_live(summary, live_gaps_s),
        Bar("response gap p90, p99", f"{ms(s.gaps.p90)}, {ms(s.gaps.p99)}", "", None),
        Bar("no answer in 5 s", str(s.misses), "", None),
        Bar("answer after 2 s", str(s.dead_air), "", None),
        Bar("barge-in stop p90", ms(s.stops.p90), "", None),
        Bar("gap after a stop p50", ms(s.gaps_after_stop.p50), "", None),
        Bar("asked after silence", str(s.asked_after_silence), "", None),
    ]  # fmt: skip


def _live(summary: Summary, gaps_s: Sequence[float]) -> list[Bar]:
    """How far the line's own median is from the judged one."""
    if not gaps_s:
        return []
    apart_s = spread(gaps_s).p50 - summary.gaps.p50
    figure = f"{apart_s * 1000:+.0f} ms of {len(gaps_s)}"
    return [Bar("live gap p50 less the judged", figure, "<= 40 ms apart", abs(apart_s) <= LIVE_APART_S)]


def table(lines: Sequence[Bar], title: str) -> Table:
    """The table to print."""
    shown = Table("", "measured", "bar", "", title=title, title_justify="left")
    marks = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}
    for line in lines:
        shown.add_row(line.name, line.figure, line.bar, marks[line.is_met])
    return shown


def _at_least(figure: Share, bar: float, num: int = 1) -> bool:
    return figure.num >= num and figure.value >= bar


def _ms(value_s: float) -> str:
    return "none" if math.isnan(value_s) else f"{value_s * 1000:.0f} ms"
