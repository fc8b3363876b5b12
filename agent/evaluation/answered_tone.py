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
_LEAST_S = 0.3  # of sound that has a level
_SOFT = SOFT_GAIN**0.5  # halfway between a plain answer and a soft one, in decibels
_TERSE_LINES = frozenset(plain(in_tone(line, Tone.HURRIED).text) for line in CALM_LINES) - {
    plain(line.text) for line in CALM_LINES
}

Json = dict[str, Any]


def tones_heard(outcome: Json, agent: Pcm) -> list[str]:
    """A tone for each turn of a judged call, `NO_LINE` where none of the order line's answers was heard.

    `agent` is its whole channel, float32 [T] at 24 kHz: how loud an answer is shows beside the greeting.
    Where either is too short to tell, nothing counts as soft.
    """
    greeted_s, turns = outcome["greeting_after_s"], outcome["turns"]
    greeting = None
    if turns and greeted_s is not None:
        greeting = _loudness(agent, greeted_s, min(greeted_s + _GREETING_S, turns[0]["start_s"]))
    return [_tone(turn, agent, greeting) for turn in turns]


def _tone(turn: Json, agent: Pcm, greeting: float | None) -> str:
    tone = _tone_of_words(turn["heard"])
    if tone is None:
        return NO_LINE
    if tone is Tone.CALM and greeting is not None and turn["answer"] is not None:
        answer = _loudness(agent, *turn["answer"])
        if answer is not None and answer < _SOFT * greeting:
            tone = Tone.WHISPER
    return str(tone.value)


def _tone_of_words(words: str) -> Tone | None:
    if not is_own_line(words):
        return None
    if without_offer(words) != words:
        return Tone.ANGRY
    is_terse = words in _TERSE_LINES or (words.endswith("right") and not words.endswith("is that right"))
    return Tone.HURRIED if is_terse else Tone.CALM


def _loudness(agent: Pcm, start_s: float, end_s: float) -> float | None:
    if end_s - start_s < _LEAST_S:
        return None
    return active_rms(agent[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)], SAMPLE_RATE_HZ)
