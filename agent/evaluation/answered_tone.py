"""For callers of which tone an answer is: by its words, and where those are plain by how softly it is said.

The order line answers hurried callers in fewer words, angry ones after the offer of a person, and whispering
ones in a calm caller's words, under its breath.
"""

from __future__ import annotations

from typing import Any

from agent.energy_gate import Pcm
from agent.evaluation.judge import is_own_line, plain, without_offer
from agent.evaluation.segments import SAMPLE_RATE_HZ
from model.channel import active_rms
from model.order_line import CALM_LINES, Tone, in_tone
from model.training.agent_voice import SOFT_GAIN

NO_LINE = "none"  # of the order line's was heard
_GREETING_S = 3.0
_SOFT = SOFT_GAIN**0.5  # halfway between a plain answer and a soft one, in decibels
_TERSE_LINES = frozenset(plain(in_tone(line, Tone.HURRIED).text) for line in CALM_LINES) - {
    plain(line.text) for line in CALM_LINES
}

Json = dict[str, Any]


def tones_heard(outcome: Json, agent: Pcm) -> list[str]:
    """A tone for each turn of a judged call, `NO_LINE` where none of the order line's answers was heard.

    `agent` is its whole channel, float32 [T] at 24 kHz: how loud an answer is shows beside the greeting, so
    without one nothing counts as soft.
    """
    turns = outcome["turns"]
    ends = [*(turn["start_s"] for turn in turns[1:]), len(agent) / SAMPLE_RATE_HZ]
    greeted_s = outcome["greeting_after_s"]
    greeting = 0.0
    if turns and greeted_s is not None:
        greeting = _loudness(agent, greeted_s, min(greeted_s + _GREETING_S, turns[0]["start_s"]))
    return [_tone(turn, agent, end_s, greeting) for turn, end_s in zip(turns, ends, strict=False)]


def _tone(turn: Json, agent: Pcm, end_s: float, greeting: float) -> str:
    tone = _tone_of_words(turn["heard"] or "")
    if tone is None or turn["gap_s"] is None:
        return NO_LINE
    if tone is Tone.CALM and _loudness(agent, turn["end_s"] + turn["gap_s"], end_s) < _SOFT * greeting:
        return str(Tone.WHISPER.value)
    return str(tone.value)


def _tone_of_words(words: str) -> Tone | None:
    if not is_own_line(words):
        return None
    if without_offer(words) != words:
        return Tone.ANGRY
    is_terse = words in _TERSE_LINES or (words.endswith("right") and not words.endswith("is that right"))
    return Tone.HURRIED if is_terse else Tone.CALM


def _loudness(agent: Pcm, start_s: float, end_s: float) -> float:
    return active_rms(agent[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)], SAMPLE_RATE_HZ)
