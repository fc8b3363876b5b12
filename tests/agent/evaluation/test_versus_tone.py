"""Four calls share their words and differ in tone; an answer's tone is told by its words and its level."""

import numpy as np
import pytest

from agent.evaluation.versus_tone import (
    CHANCE,
    LEVEL_DBFS,
    NO_LINE,
    TONES,
    tone_figures,
    tone_heard,
    tone_of,
    tone_script,
)
from model.channel import active_rms
from model.order_line import Tone
from tests.signals import tone

RATE_HZ = 24_000
OPEN = "from seven in the morning to six at night"
HOURS = {
    Tone.CALM: f"we are open {OPEN}",
    Tone.HURRIED: OPEN,
    Tone.ANGRY: f"i am sorry you can always ask for a person we are open {OPEN}",
}


def test_four_calls_have_the_same_words_at_one_level_in_four_tones() -> None:
    calls = [tone_script(number, 3) for number in range(4, 8)]
    steps = [call.steps[0] for call in calls]
    assert len({step.step.request.text for step in steps if step.step.request}) == 1
    assert len({call.voice.name for call in calls}) == 1 and [tone_of(n) for n in range(4, 8)] == list(TONES)
    levels_db = [20 * np.log10(active_rms(step.pcm, RATE_HZ)) for step in steps]
    assert levels_db == pytest.approx([LEVEL_DBFS] * 4, abs=1.5)
    assert len({len(step.pcm) for step in steps}) == 4, "each is said in its own way"


def outcome(heard: str, *, gap_s: float | None = 0.3) -> dict[str, object]:
    """A call that was greeted at 0.5 s and asked from 3 to 4 s."""
    turn = {"heard": heard, "gap_s": gap_s, "start_s": 3.0, "end_s": 4.0}
    return {"greeting_after_s": 0.5, "turns": [turn]}


def spoken(answer_gain: float) -> np.ndarray:
    """A greeting from 0.5 s on and an answer from 4.3 s on, float32 [T]."""
    pcm = np.zeros(8 * RATE_HZ, np.float32)
    for start_s, gain in ((0.5, 1.0), (4.3, answer_gain)):
        pcm[round(start_s * RATE_HZ) :][: 2 * RATE_HZ] = gain * tone(300, 2.0, RATE_HZ, amplitude=0.3)
    return pcm


def test_the_tone_of_an_answer_is_told_by_words_and_softness() -> None:
    for said, words in HOURS.items():
        assert tone_heard(outcome(words), spoken(1.0)) == said.value
    assert tone_heard(outcome(HOURS[Tone.CALM]), spoken(0.32)) == "whisper"
    assert tone_heard(outcome(HOURS[Tone.CALM]), spoken(0.7)) == "calm"
    assert tone_heard(outcome("we are closed on sunday"), spoken(1.0)) == NO_LINE
    assert tone_heard(outcome("", gap_s=None), spoken(1.0)) == NO_LINE
    assert tone_heard({"greeting_after_s": None, "turns": []}, spoken(1.0)) == NO_LINE


def test_who_answers_all_tones_alike_is_at_chance() -> None:
    alike = tone_figures("cascade", [(one, "calm") for one in TONES for _ in range(3)])
    assert alike.in_tone.value == CHANCE == 0.25 and alike.answers["angry"] == {"calm": 3}
    assert tone_figures("model", [(one, one.value) for one in TONES]).in_tone.value == 1.0
