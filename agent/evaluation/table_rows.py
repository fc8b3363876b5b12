"""Figures -> the rows of the report: names, bars, aims, and the best that others have published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.evaluation.metrics.intervals import Estimate
from agent.evaluation.report import Best, Row, Unit

_FDB = "Full-Duplex-Bench v1.5, tables of systems"
_TAU = "tau-Voice submissions"
_YARDSTICK = Best("77.6 to 97.6 %, wide band, grammar given", "Picovoice, 2020")
_TELNYX = "telnyx-onset, 40 + 40 calls over SIP, PCMU"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a figure is called and what it must reach."""

    name: str
    group: str
    unit: Unit = Unit.SHARE
    bar: float | None = None
    aim: float | None = None
    is_lower_better: bool = False
    best: Best | None = None
    note: str = ""


def _low(
    name: str, group: str, unit: Unit = Unit.SHARE, *bounds: float, best: Best | None = None, note: str = ""
) -> Meaning:
    bar, aim = (*bounds, None, None)[:2]
    return Meaning(name, group, unit, bar, aim, True, best, note)


_TIMES, _PAUSES, _FLOOR, _HEARS = "answers in time", "leaves pauses", "yields, and goes on", "understands"
_ECHO, _LATE, _SPEAKS, _SIZE = "hears itself", "later turns", "is understood", "fits"
_PANELS = "published panels, our callers"

MEANINGS: dict[str, Meaning] = {
    "gap_p50": _low("response gap p50", _TIMES, Unit.SECONDS, 0.4, 0.32,
                    best=Best("1,090 ms", "SignalWire, own telephone calls")),
    "gap_p90": _low("response gap p90", _TIMES, Unit.SECONDS),
    "gap_p95": _low("response gap p95", _TIMES, Unit.SECONDS, 0.6, 0.5),
    "misses": _low("no answer in 5 s", _TIMES, note="or none before it hung up"),
    "dead_air": _low("nothing for more than 2 s", _TIMES),
    "cut_short": _low("calls that ended before the caller had done", _TIMES),
    "early_starts": _low("turns with an early start", _TIMES),
    "premature": _low("taken over in a pause of 0.4 to 1.0 s", _PAUSES, Unit.SHARE, 0.20, 0.10,
                      best=Best(".58 to .66 fast, .01 to .12 slow systems", "Full-Duplex-Bench v1")),
    "taken_at_complete": _low("taken over where it might have ended", _PAUSES, note="as a person might"),
    "given_per_minute": Meaning("backchannels given in the caller's speech", _PAUSES, Unit.PER_MINUTE),
    "yield": Meaning("yields within 2 s", _FLOOR, bar=0.95, aim=0.98, best=Best("1.0", _TAU)),
    "stop_p50": _low("barge-in stop p50", _FLOOR, Unit.SECONDS, 0.45, 0.32, best=Best("400 ms", _TELNYX)),
    "stop_p90": _low("barge-in stop p90", _FLOOR, Unit.SECONDS, 0.65, 0.48, best=Best("501 ms", _TELNYX)),
    "response_after_stop_p50": _low("answer after an interruption p50", _FLOOR, Unit.SECONDS),
    "ignored_backchannel": Meaning("goes on over a backchannel", _FLOOR, bar=0.85, aim=0.95,
                                   best=Best(".97", _TAU)),
    "ignored_cough": Meaning("goes on over a cough", _FLOOR, bar=0.70, aim=0.80, best=Best(".62", _TAU)),
    "ignored_side_talk": Meaning("goes on over talk to others", _FLOOR, bar=0.60, aim=0.75,
                                 best=Best(".58", _TAU)),
    "ignored_background": Meaning("goes on over a voice in the room", _FLOOR, best=Best(".99", _FDB)),
    "ignored_music": Meaning("goes on over music", _FLOOR),
    "stutters_per_event": _low("short breaks after a caller's sound", _FLOOR, Unit.SCORE,
                               note="a sound, beyond those of undisturbed speech"),
    "self_stops_-20_db": _low("stops at its own echo, -20 dB", _ECHO, Unit.SHARE, 0.01, 0.0),
    "self_stops_-12_db": _low("stops at its own echo, -12 dB", _ECHO),
    "cut_short_echo": _low("calls with echo in which the caller did not get to the end", _ECHO),
    "self_answers_-20_db": _low("answers its own echo, -20 dB", _ECHO),
    "self_answers_-12_db": _low("answers its own echo, -12 dB", _ECHO),
    "right": Meaning("answers right", _HEARS, bar=0.90, aim=0.95),
    "orders_clean": Meaning("orders right, clean", _HEARS),
    "orders_noisy": Meaning("orders right, mean of 6 to 24 dB noise", _HEARS),
    "real_orders_clean": Meaning("real callers' orders right, clean", _HEARS, bar=0.60, aim=0.85,
                                 best=_YARDSTICK),
    "real_orders_noisy": Meaning("real callers' orders right, 6 to 24 dB noise", _HEARS, bar=0.50, aim=0.78,
                                 best=_YARDSTICK),
    "numbers": Meaning("seven-digit numbers read back right", _HEARS),
    "real_numbers": Meaning("the same, real speakers' digits", _HEARS, bar=0.50, aim=0.80),
    "transcript_wer": _low("word errors of the caller's transcript", _HEARS, Unit.SHARE, 0.25, 0.15),
    "tone": Meaning("reacts to the tone of the same words", _HEARS, bar=0.80, aim=0.90,
                    note="half calm, the others hurried, angry or whispered"),
    "right_early": Meaning("answers right, turns 1 to 3", _LATE),
    "right_late": Meaning("answers right, turns 8 to 10", _LATE),
    "gap_p50_early": _low("response gap p50, turns 1 to 3", _LATE, Unit.SECONDS),
    "gap_p50_late": _low("response gap p50, turns 8 to 10", _LATE, Unit.SECONDS),
    "said_lines": Meaning("agent's sentences recognised", _SPEAKS, bar=0.95, aim=0.98,
                          note="each talk in dialogues, right answer or not; closed grammar"),
    "own_lines": Meaning("the same, sentences it was told to say", _SPEAKS, note="closed grammar"),
    "other_words": Meaning("words of other sentences recognised", _SPEAKS, bar=0.80, aim=0.90,
                           note="100 sentences off the domain, forced; a grammar with foils for each"),
    "codec_pesq": Meaning("PESQ-NB of the codec on the agent's voice", _SPEAKS, Unit.SCORE, 2.3, 2.8),
    "units_per_minute": Meaning("stretches of speech, both sides", _PANELS, Unit.PER_MINUTE),
    "pauses_per_minute": Meaning("pauses within one side's speech", _PANELS, Unit.PER_MINUTE),
    "gaps_per_minute": Meaning("gaps between the sides", _PANELS, Unit.PER_MINUTE),
    "overlaps_per_minute": Meaning("overlaps", _PANELS, Unit.PER_MINUTE),
    "eva": Meaning("EVA's turn-taking score", _PANELS, Unit.SCORE, note="wants gaps of 0.5 to 2 s"),
    "tau_r_r": Meaning("tau-Voice R_R, turns answered", _PANELS),
    "tau_r_y": Meaning("tau-Voice R_Y, yields", _PANELS),
    "tau_l_r": _low("tau-Voice L_R, response", _PANELS, Unit.SECONDS),
    "tau_l_y": _low("tau-Voice L_Y, yielding", _PANELS, Unit.SECONDS),
    "tau_i_a": _low("tau-Voice I_A, interruptions by the agent", _PANELS),
    "tau_s_bc": Meaning("tau-Voice S_BC, over backchannels", _PANELS),
    "tau_s_vt": Meaning("tau-Voice S_VT, over coughs", _PANELS),
    "tau_s_nd": Meaning("tau-Voice S_ND, over talk to others", _PANELS),
    "megabytes": _low("size of the model, MB", _SIZE, Unit.COUNT, 60.0),
    "calls_per_core": Meaning("calls that one core holds", _SIZE, Unit.SCORE, 2.0),
}  # fmt: skip
_PATTERNS = {
    "right_": ("answers right: {}", _HEARS),
    "orders_": ("orders right, {}", _HEARS),
    "orders_slots_": ("slots of orders right, {}", _HEARS),
    "real_orders_": ("real callers' orders right, {}", _HEARS),
    "real_orders_slots_": ("slots of real callers' orders right, {}", _HEARS),
    "tone_": ("reacts to the tone of the same words: {}", _HEARS),
}
_FEW = {"codec_pesq": 20, "megabytes": 1, "calls_per_core": 1}  # trials, where 100 would tell no more


def rows_of(figures: Mapping[str, Estimate]) -> list[Row]:
    """The table's rows, in its order."""
    known = [(key, MEANINGS[key]) for key in MEANINGS if key in figures]
    others = [(key, _by_pattern(key)) for key in figures if key not in MEANINGS]
    return list(_rows(figures, [*known, *others]))


def _by_pattern(key: str) -> Meaning:
    prefix = max((one for one in _PATTERNS if key.startswith(one)), key=len)
    name, group = _PATTERNS[prefix]
    return Meaning(name.format(key.removeprefix(prefix).replace("_", " ")), group)


def _rows(figures: Mapping[str, Estimate], named: Iterable[tuple[str, Meaning]]) -> Iterable[Row]:
    order = [_TIMES, _PAUSES, _FLOOR, _ECHO, _HEARS, _LATE, _SPEAKS, _SIZE, _PANELS]
    for key, one in sorted(named, key=lambda pair: order.index(pair[1].group)):
        yield Row(
            one.name, one.unit, figures[key], one.bar, one.aim, one.is_lower_better, one.best,
            min_trials=_FEW.get(key, 100), group=one.group, note=one.note,
        )  # fmt: skip
