"""An answer's tone is told by its words, and by its level beside the greeting's."""

import numpy as np

from agent.evaluation.answered_tone import NO_LINE, tones_heard
from model.order_line import Tone
from tests.signals import tone

RATE_HZ = 24_000
ANSWER = [4.3, 6.3]
OPEN = "from seven in the morning to six at night"
HOURS = {
    Tone.CALM: f"we are open {OPEN}",
    Tone.HURRIED: OPEN,
    Tone.ANGRY: f"i am sorry you can always ask for a person we are open {OPEN}",
}


def outcome(heard: str, answer: list[float] | None = ANSWER) -> dict[str, object]:
    """A call that was greeted at 0.5 s and asked from 3 to 4 s."""
    return {"greeting_after_s": 0.5, "turns": [{"heard": heard, "answer": answer, "start_s": 3.0}]}


def spoken(answer_gain: float) -> np.ndarray:
    """A greeting from 0.5 s on and an answer from 4.3 s on, float32 [T]."""
    pcm = np.zeros(8 * RATE_HZ, np.float32)
    for start_s, gain in ((0.5, 1.0), (4.3, answer_gain)):
        pcm[round(start_s * RATE_HZ) :][: 2 * RATE_HZ] = gain * tone(300, 2.0, RATE_HZ, amplitude=0.3)
    return pcm


def heard(call: dict[str, object], agent: np.ndarray) -> str:
    """The tone of a call's one answer."""
    (tone,) = tones_heard(call, agent)
    return tone


def test_the_tone_of_an_answer_is_told_by_words_and_softness() -> None:
    for said, words in HOURS.items():
        assert heard(outcome(words), spoken(1.0)) == said.value
    assert heard(outcome(HOURS[Tone.CALM]), spoken(0.32)) == "whisper"
    assert heard(outcome(HOURS[Tone.CALM]), spoken(0.7)) == "calm"
    assert heard(outcome("we are closed on sunday"), spoken(1.0)) == NO_LINE
    assert heard(outcome("", None), spoken(1.0)) == NO_LINE
    assert tones_heard({"greeting_after_s": None, "turns": []}, spoken(1.0)) == []
    ungreeted = outcome(HOURS[Tone.CALM]) | {"greeting_after_s": None}
    assert heard(ungreeted, spoken(0.32)) == "calm", "softer than what?"


def test_what_follows_a_soft_answer_does_not_lift_it() -> None:
    agent = np.concatenate([spoken(0.32), tone(300, 2.0, RATE_HZ, amplitude=0.3)])
    assert heard(outcome(HOURS[Tone.CALM]), agent) == "whisper"


def test_of_a_moment_nobody_says_how_loud_it_is() -> None:
    short = outcome(HOURS[Tone.CALM], [4.3, 4.31])
    assert heard(short, np.zeros(8 * RATE_HZ, np.float32)) == "calm"
    interrupted = outcome(HOURS[Tone.CALM]) | {"greeting_after_s": 2.99}
    assert heard(interrupted, spoken(0.32)) == "calm"
