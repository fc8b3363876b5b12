"""Judged calls -> what the page of plots draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.energy_gate import Segment
from agent.evaluation.figures import Figures
from agent.evaluation.metrics.floor import PauseTrial
from agent.evaluation.metrics.intervals import Estimate
from agent.evaluation.metrics.word_errors import by_position, score_digits
from agent.evaluation.report_page import PageMaterial, PlanePoint, Timeline
from agent.evaluation.scenes import SNRS_DB, Family
from agent.evaluation.table_rows import MEANINGS
from agent.evaluation.trials import Json

SELECTIVITY = ("ignored_backchannel", "ignored_cough", "ignored_side_talk")


def material_of(
    results: Mapping[Family, Sequence[Json]], figures: Figures, notes: Sequence[str]
) -> PageMaterial:
    """Everything that a page shows of a run; families that were not called leave their panels empty."""
    dialogue, floor = results.get(Family.DIALOGUE, []), results.get(Family.FLOOR, [])
    turns = [turn for call in dialogue for turn in call["turns"]]
    tries = [row for call in floor for row in call["interruptions"] if row["is_eligible"]]
    return PageMaterial(
        gaps_s=[turn["gap_s"] for turn in turns if turn["gap_s"] is not None],
        num_misses=sum(turn["is_miss"] for turn in turns),
        gap_bars_s=_bars("gap_p50", "gap_p95"),
        stops_s=[row["stop_s"] for row in tries],
        stop_bars_s=_bars("stop_p50", "stop_p90"),
        plane=_plane(figures),
        pauses=[_pause(row) for call in dialogue for row in call["pauses"]],
        orders_by_snr=_orders(figures),
        digits_by_position=_digits(results),
        early_late=_early_late(figures),
        timeline=_timeline(floor),
        notes=notes,
    )


def _bars(first: str, second: str) -> tuple[float, float] | None:
    bars = MEANINGS[first].bar, MEANINGS[second].bar
    return None if bars[0] is None or bars[1] is None else (bars[0], bars[1])


def _plane(figures: Figures) -> list[PlanePoint]:
    if "yield" not in figures or not figures["yield"].num_eligible:
        return []
    kept = [figures[key].value for key in SELECTIVITY if figures[key].num_eligible]
    return (
        [PlanePoint("this run", figures["yield"].value, sum(kept) / max(len(kept), 1), True)] if kept else []
    )


def _pause(row: Json) -> PauseTrial:
    return PauseTrial(**{key: row[key] for key in ("length_s", "is_complete", "is_eligible", "is_taken")})


def _orders(figures: Figures) -> list[tuple[str, Estimate]]:
    prefix = "real_orders" if "real_orders_clean" in figures else "orders"
    levels = [
        ("clean", f"{prefix}_clean"),
        *((f"{level:g} dB", f"{prefix}_{level:g}_db") for level in SNRS_DB),
    ]
    return [(label, figures[key]) for label, key in levels if key in figures]


def _digits(results: Mapping[Family, Sequence[Json]]) -> list[tuple[int, int]]:
    calls = results.get(Family.REAL_NUMBERS) or results.get(Family.NUMBERS, [])
    return by_position(
        [score_digits(turn["expected"][0], turn["heard"]) for call in calls for turn in call["turns"]]
    )


def _early_late(figures: Figures) -> list[tuple[str, Estimate, Estimate]]:
    if "right_early" not in figures:
        return []
    return [("answers right", figures["right_early"], figures["right_late"])]


def _timeline(floor: Sequence[Json]) -> Timeline | None:
    """The floor call with the most marks."""
    if not floor:
        return None
    call = max(floor, key=lambda one: len(one["sounds"]) + len(one["interruptions"]))
    caller = [Segment(turn["start_s"], turn["end_s"]) for turn in call["turns"]]
    sounds = [Segment(row["start_s"], row["end_s"]) for row in call["sounds"]]
    marks = [(row["start_s"], row["sound"].replace("_", " ")) for row in call["sounds"]]
    return Timeline(
        sorted([*caller, *sounds], key=lambda one: one.start_s),
        [Segment(*pair) for pair in call["agent"]],
        marks,
        f"call {call['number']}, {call['voice']}",
    )
