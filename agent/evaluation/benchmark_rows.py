"""Rows of a report from other people's benchmarks, the papers' figures and the published scripts' apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent.energy_gate import Segment
from agent.evaluation.benchmark_folders import FdbItem, FdbTask, UroSet
from agent.evaluation.metrics import fdb, fdb_official
from agent.evaluation.metrics.intervals import mean, rate
from agent.evaluation.metrics.uro import repeat_score, spoken_errors
from agent.evaluation.report import Best, Row, Unit

PAPER = "as the paper defines it, by sound"
SCRIPT = "as the published script computes it"
_TABLE = "Full-Duplex-Bench README, April 2026"
_V15 = "arXiv 2507.23159, user interruption"
_PAUSE_BEST = Best("GPT-Realtime .010 synthetic, .120 Candor (at 1.47 s); PersonaPlex .584, .662", _TABLE)
_TURN_BEST = Best("GPT-Realtime 1.000 at 1.470 s; PersonaPlex .992 at .070 s; Moshi .941 at .265 s", _TABLE)
_CUT_BEST = Best("PersonaPlex 1.000 at .400 s; Moshi 1.000 at .257 s, of which it never stopped", _TABLE)
_LISTEN_BEST = Best("PersonaPlex .025 per s, JSD .649; GPT-Realtime TOR .000", _TABLE)


def fdb_rows(items: Sequence[FdbItem]) -> list[Row]:
    """All rows that these items allow, the papers' column before the scripts'."""
    rows: list[Row] = []
    for folder in dict.fromkeys(item.folder for item in items):
        group = [item for item in items if item.folder == folder]
        for task in FdbTask:
            chosen = [item for item in group if item.task is task]
            if chosen:
                rows += _ROWS[task](folder, chosen)
    return sorted(rows, key=lambda row: row.group != PAPER)


def _pause_rows(folder: str, items: Sequence[FdbItem]) -> list[Row]:
    paper = [fdb.pause_handling(_turn(item), item.model) for item in items]
    script = [fdb_official.take_over(_heard(item)) for item in items]
    return _takes(folder, paper, script, _PAUSE_BEST, is_low_good=True, note=_words_note(items))


def _turn_rows(folder: str, items: Sequence[FdbItem]) -> list[Row]:
    paper, script = [], []
    for item in items:
        end_s = _marked(item).start_s  # the mark is the gap between the two speakers
        paper.append(fdb.smooth_turn(end_s, item.model, _turn(item).start_s))
        script.append(fdb_official.take_over(_heard(item), end_s))
    return _takes(folder, paper, script, _TURN_BEST, note=_words_note(items))


def _interruption_rows(folder: str, items: Sequence[FdbItem]) -> list[Row]:
    paper = [fdb.user_interruption(_marked(item), item.model) for item in items]
    script = [fdb_official.user_interruption(_marked(item).end_s, _heard(item)) for item in items]
    return _takes(folder, paper, script, _CUT_BEST, note=_words_note(items))


def _takes(
    folder: str,
    paper: Sequence[fdb.TakeOver],
    script: Sequence[fdb.TakeOver],
    best: Best,
    *,
    is_low_good: bool = False,
    note: str,
) -> list[Row]:
    """TOR and mean latency of both columns."""
    rows = []
    for takes, group, remark in ((paper, PAPER, ""), (script, SCRIPT, note)):
        taken = rate(sum(take.is_taken for take in takes), len(takes))
        name = f"{folder}: take-over rate"
        rows.append(
            Row(name, Unit.SHARE, taken, is_lower_better=is_low_good, best=best, group=group, note=remark)
        )
        late = [[take.latency_s] for take in takes if take.latency_s is not None]
        if late:
            name = f"{folder}: latency, mean of those taken"
            figure = mean(late, len(takes))
            rows.append(Row(name, Unit.SECONDS, figure, is_lower_better=True, group=group, note=remark))
    return rows


def _listener_rows(folder: str, items: Sequence[FdbItem]) -> list[Row]:
    paper = [fdb.backchannels(item.model, item.duration_s, item.people) for item in items]
    script = [
        fdb_official.backchannels(item.model, item.duration_s, item.people, item.words or ())
        for item in items
    ]
    rows = []
    for scores, group, unit in ((paper, PAPER, "divergence, base 2"), (script, SCRIPT, "distance, nats")):
        taken = rate(sum(score.is_taken for score in scores), len(scores))
        spread = [[score.divergence] for score in scores if score.divergence is not None]
        rows += [
            Row(f"{folder}: take-over rate", Unit.SHARE, taken, is_lower_better=True, group=group),
            Row(f"{folder}: backchannels", Unit.PER_SECOND, mean([[one.per_s] for one in scores]),
                best=_LISTEN_BEST, group=group),
            Row(f"{folder}: JSD with people's timing", Unit.SCORE, mean(spread, len(scores)),
                is_lower_better=True, group=group, note=unit),
        ]  # fmt: skip
    return rows


def _overlap_rows(folder: str, items: Sequence[FdbItem]) -> list[Row]:
    """v1.5; its behaviour labels proper are a language model's over transcripts, and left out."""
    found = [fdb.overlap(_marked(item), item.model) for item in items]
    eligible = [one for one in found if one.is_eligible]
    wanted = fdb.DESIRED[folder]
    right = rate(sum(one.behaviour is wanted for one in eligible), len(eligible), len(items))
    stops = [[one.stop_s] for one in eligible if one.stop_s is not None]
    answers = [[one.response_s] for one in eligible if one.response_s is not None]
    rows = [
        Row(f"{folder}: behaviour “{wanted.value}”", Unit.SHARE, right, group=PAPER,
            note="label from sound alone"),
        Row(f"{folder}: stop latency, mean", Unit.SECONDS, mean(stops, len(items)), is_lower_better=True,
            best=Best("GPT-4o 0.23 s, Moshi 1.16 s, as the script computes it", _V15), group=PAPER),
        Row(f"{folder}: response latency, mean", Unit.SECONDS, mean(answers, len(items)),
            is_lower_better=True, group=PAPER,
            best=Best("Freeze-Omni 1.35 s, Moshi 1.47 s, as the script computes it", _V15)),
    ]  # fmt: skip
    for name, intervals in (
        ("stop latency", fdb_official.stop_intervals),
        ("response latency", fdb_official.response_intervals),
    ):
        lengths = [_lengths(intervals(item.user, item.model)) for item in items]
        figure = mean(lengths)
        label = f"{folder}: {name}, mean"
        rows.append(Row(label, Unit.SECONDS, figure, is_lower_better=True, group=SCRIPT))
    return rows


_ROWS = {
    FdbTask.PAUSE: _pause_rows,
    FdbTask.TURN: _turn_rows,
    FdbTask.INTERRUPTION: _interruption_rows,
    FdbTask.BACKCHANNEL: _listener_rows,
    FdbTask.OVERLAP: _overlap_rows,
}


def uro_rows(sets: Iterable[UroSet]) -> list[Row]:
    """Repeat with its score; of every set the word errors of what was spoken. The rest needs a judge."""
    rows: list[Row] = []
    for one in sets:
        if one.is_repeat:
            pairs = list(zip(one.asked, one.heard, strict=True))
            score = repeat_score(pairs)
            ok = rate(sum(score.is_ok), len(pairs))
            note = f"URO score {score.score:.2f}: of these, {100 * score.wer_of_ok:.1f} % of words wrong"
            rows.append(Row(f"{one.name}: repeated", Unit.SHARE, ok, group="URO-Bench", note=note))
        errors = spoken_errors(list(zip(one.written, one.heard, strict=True)))
        figure = mean([[value] for value in errors])
        best = Best("SLAM-Omni 4.5 %, GLM-4-Voice 12.7 %", "arXiv 2502.17810, all basic sets")
        rows.append(Row(f"{one.name}: WER of the spoken answer", Unit.SHARE, figure, is_lower_better=True,
                        best=best, group="URO-Bench"))  # fmt: skip
    return rows


def _turn(item: FdbItem) -> Segment:
    """All that the user says, pauses included; the whole file where the gate hears nothing."""
    if not item.user:
        return Segment(0.0, item.duration_s)
    return Segment(item.user[0].start_s, item.user[-1].end_s)


def _marked(item: FdbItem) -> Segment:
    assert item.mark is not None, item.name
    return item.mark


def _heard(item: FdbItem) -> Sequence[fdb_official.Word]:
    return fdb_official.words_from(item.model) if item.words is None else item.words


def _words_note(items: Sequence[FdbItem]) -> str:
    num = sum(item.words is None for item in items)
    return f"{num} of {len(items)} without output.json: a stretch of sound counts as a word" if num else ""


def _lengths(spans: Sequence[Segment]) -> list[float]:
    return [span.duration_s for span in spans]
