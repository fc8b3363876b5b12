"""Trials of many calls -> figures with intervals. One function per family; keys are the table's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from agent.evaluation.metrics.intervals import Estimate, mean, percentile, rate_by_call
from agent.evaluation.metrics.word_errors import score_slots, word_errors, words_of
from agent.evaluation.panels import conversation, interaction
from agent.evaluation.rows import EARLY_TURNS, LATE_TURNS
from agent.evaluation.scenes import ECHO_DB, SNRS_DB, Family
from agent.evaluation.scores import DEAD_AIR_S
from agent.evaluation.stimuli import OVER_SOUNDS
from agent.evaluation.trials import Json
from model.order import Change, Order, order_as_json, understand
from model.order_line import Tone

Figures = dict[str, Estimate]
Flags = Callable[[Json], Iterable[bool]]


def figures_of(family: Family, calls: Sequence[Json]) -> Figures:
    """Every figure of a family from its judged calls; a figure without an eligible trial is NaN."""
    return _FIGURES[family](calls)


def share(calls: Sequence[Json], flags: Flags, attempted: int | None = None) -> Estimate:
    """A rate over trials, by call."""
    return rate_by_call([list(map(bool, flags(call))) for call in calls], attempted)


def _dialogue(calls: Sequence[Json]) -> Figures:
    gaps = [[turn["gap_s"] for turn in call["turns"] if turn["gap_s"] is not None] for call in calls]
    attempted = sum(len(call["turns"]) for call in calls)
    intents = sorted({turn["intent"] for call in calls for turn in call["turns"]})
    return {
        **{f"gap_p{percent}": percentile(gaps, percent, attempted) for percent in (50, 90, 95)},
        "misses": share(calls, lambda call: map(_is_missed, call["turns"])),
        "dead_air": share(calls, _is_dead_air),
        "cut_short": rate_by_call([[bool(_lost(call))] for call in calls]),
        "early_starts": share(calls, lambda call: (turn["early_starts"] for turn in call["turns"])),
        "right": share(calls, _all_right),
        **{f"right_{intent}": _right_of(calls, intent) for intent in intents},
        **_pauses(calls),
        **_later_turns(calls),
        "given_per_minute": _given(calls),
        "transcript_wer": _transcript(calls),
        "said_lines": share(calls, lambda call: call["said_lines"]),
        **conversation(calls),
    }  # fmt: skip


def _right_of(calls: Sequence[Json], intent: str) -> Estimate:
    return share(calls, lambda call: _right(call, lambda turn: turn["intent"] == intent))


def _right(call: Json, is_meant: Callable[[Json], bool]) -> list[bool]:
    return [turn["is_right"] for turn in call["turns"] if turn["is_judged"] and is_meant(turn)]


def _all_right(call: Json) -> list[bool]:
    """Of every turn that was planned: the agent that hangs up on its caller has answered none of the rest."""
    return [*_right(call, lambda turn: True), *_lost(call)]


def _lost(call: Json) -> list[bool]:
    """Turns that were not said, because the call had ended; none of them right."""
    return [False] * (call["planned_turns"] - len(call["turns"]))


def _is_dead_air(call: Json) -> list[bool]:
    """Of the turns that the agent waited for: nothing came for more than 2 s, or nothing at all."""
    return [
        _is_missed(turn) or turn["gap_s"] > DEAD_AIR_S for turn in call["turns"] if not turn["early_starts"]
    ]


def _is_missed(turn: Json) -> bool:
    """Nobody answered: not within 5 s, nor before the agent hung up, nor early."""
    return turn["gap_s"] is None and not turn["early_starts"]


def _pauses(calls: Sequence[Json]) -> Figures:
    def taken(call: Json, is_complete: bool) -> list[bool]:
        rows = [row for row in call["pauses"] if row["is_complete"] is is_complete]
        return [row["is_taken"] for row in rows if row["is_in_rate"] or (is_complete and row["is_eligible"])]

    num = {
        kind: sum(row["is_complete"] is kind for call in calls for row in call["pauses"])
        for kind in (False, True)
    }
    return {
        "premature": share(calls, lambda call: taken(call, False), num[False]),
        "taken_at_complete": share(calls, lambda call: taken(call, True), num[True]),
    }


def _later_turns(calls: Sequence[Json]) -> Figures:
    found: Figures = {}
    for name, places in (("early", EARLY_TURNS), ("late", LATE_TURNS)):
        rows = [[turn for place, turn in enumerate(call["turns"], 1) if place in places] for call in calls]
        lost = [
            [False for place in places if len(call["turns"]) < place <= call["planned_turns"]]
            for call in calls
        ]
        found[f"right_{name}"] = rate_by_call(
            [
                [*(t["is_right"] for t in row if t["is_judged"]), *more]
                for row, more in zip(rows, lost, strict=True)
            ]
        )
        found[f"gap_p50_{name}"] = percentile(
            [[t["gap_s"] for t in row if t["gap_s"] is not None] for row in rows], 50
        )
    return found


def _given(calls: Sequence[Json]) -> Estimate:
    """Backchannels per minute of the caller's speech, the calls weighed alike by their minutes."""
    pairs = [(call["given"]["num"], call["given"]["caller_speech_s"] / 60) for call in calls]
    return mean([[num / minutes] for num, minutes in pairs if minutes > 0], len(calls))


def _transcript(calls: Sequence[Json]) -> Estimate:
    """Word errors of the caller's transcript.

    Calls whose line told none are not eligible, nor any call where no call has a word: there is none then.
    """
    known = [call for call in calls if call["transcript"] is not None]
    is_written = any(call["transcript"] for call in known)
    told = [word_errors(call["reference"], call["transcript"]) for call in known] if is_written else []
    words = np.asarray([float(one.num_words) for one in told])
    # By call, so that the interval is one of calls; weighed by words, so that the value is the pooled rate.
    weights = words / words.mean() if told else words
    rates = mean([[one.rate * weight] for one, weight in zip(told, weights, strict=True)])
    num_words = sum(len(words_of(call["reference"])) for call in calls)
    return replace(rates, num_eligible=int(words.sum()), num_attempted=num_words)


def _floor(calls: Sequence[Json]) -> Figures:
    tries = [[row for row in call["interruptions"] if row["is_eligible"]] for call in calls]
    attempted = sum(len(call["interruptions"]) for call in calls)
    stops = [[row["stop_s"] for row in call if row["stop_s"] is not None] for call in tries]
    answers = [[row["response_s"] for row in call if row["response_s"] is not None] for call in tries]
    return {
        "yield": rate_by_call([[row["is_yielded"] for row in call] for call in tries], attempted),
        "stop_p50": percentile(stops, 50, attempted),
        "stop_p90": percentile(stops, 90, attempted),
        "response_after_stop_p50": percentile(answers, 50, attempted),
        **{f"ignored_{sound}": _ignored(calls, sound) for sound in OVER_SOUNDS},
        "stutters_per_event": _stutters(calls),
        **interaction(calls),
    }


def _ignored(calls: Sequence[Json], sound: str) -> Estimate:
    rows = [[row for row in call["sounds"] if row["sound"] == sound] for call in calls]
    return rate_by_call(
        [[not row["is_stopped"] for row in call if row["is_eligible"]] for call in rows], sum(map(len, rows))
    )


def _stutters(calls: Sequence[Json]) -> Estimate:
    """Short breaks within 1 s of a caller's event, beyond those that the same speech has anyway."""
    return mean(
        [[num - call["stutters"]["breaks_per_s"] for num in call["stutters"]["breaks"]] for call in calls]
    )


def _echo(calls: Sequence[Json]) -> Figures:
    # Who talks to its own echo until the call's limit has few lines to stop in: that must be seen, too.
    found = {"cut_short_echo": rate_by_call([[bool(_lost(call))] for call in calls])}
    for level_db in ECHO_DB:
        those = [call for call in calls if call["condition"]["echo_db"] == level_db]
        lines = [[row for row in call["lines"] if row["is_eligible"]] for call in those]
        num = sum(len(call["lines"]) for call in those)
        for name, key in (("self_stops", "is_stopped"), ("self_answers", "answers_itself")):
            found[f"{name}_{level_db:g}_db"] = rate_by_call([[row[key] for row in c] for c in lines], num)
    return found


def _orders(calls: Sequence[Json], name: str = "orders") -> Figures:
    """Whole orders, and their slots, by noise."""

    def at(flags: Flags, *levels: str | float) -> Estimate:
        return _by_clip([call for call in calls if call["condition"]["snr_db"] in levels], flags)

    found: Figures = {}
    for what, flags in ((name, _all_right), (f"{name}_slots", _slots_right)):
        found[f"{what}_clean"], found[f"{what}_noisy"] = at(flags, "clean"), at(flags, *SNRS_DB)
        found |= {f"{what}_{level:g}_db": at(flags, level) for level in SNRS_DB}
    return found


def _by_clip(calls: Sequence[Json], flags: Flags) -> Estimate:
    """Calls with one recording hang together: the interval is one of recordings."""
    groups: dict[str, list[bool]] = {}
    for call in calls:
        groups.setdefault(call["condition"].get("clip", f"call {call['number']}"), []).extend(flags(call))
    return rate_by_call(list(groups.values()))


def _slots_right(call: Json) -> list[bool]:
    """Each slot of the orders that were said: read back as ordered or not; one that nobody ordered is not."""
    scores = [
        score_slots(slots, _slots(turn["heard"]))
        for turn in call["turns"]
        if (slots := _slots(turn["expected"][0]))
    ]
    return [
        is_right
        for score in scores
        for is_right in [True] * len(score.right) + [False] * (len(score.wrong) + len(score.extra))
    ]


def _slots(read_back: str | None) -> dict[str, str]:
    meant = understand(read_back or "")
    if not isinstance(meant, Order | Change):
        return {}
    return {slot: str(value) for slot, value in order_as_json(meant).items() if slot != "without"}


def _tone(calls: Sequence[Json]) -> Figures:
    """Whether the answer is one for callers of that tone; what else it says does not count here."""

    def met(call: Json) -> list[bool]:
        is_met = [turn["answer_tone"] == call["condition"]["tone"] for turn in call["turns"]]
        return [*is_met, *_lost(call)]

    found = {"tone": share(calls, met)}
    for tone in Tone:
        alike = [call for call in calls if call["condition"]["tone"] == tone.value]
        found[f"tone_{tone.value}"] = share(alike, met)
    return found


_FIGURES: dict[Family, Callable[[Sequence[Json]], Figures]] = {
    Family.DIALOGUE: _dialogue,
    Family.FLOOR: _floor,
    Family.ECHO: _echo,
    Family.ORDERS: _orders,
    Family.NUMBERS: lambda calls: {"numbers": share(calls, _all_right)},
    Family.TONE: _tone,
    Family.REAL_ORDERS: lambda calls: _orders(calls, "real_orders"),
    Family.REAL_NUMBERS: lambda calls: {"real_numbers": share(calls, _all_right)},
}
