"""An answer's tone is told by its words, and by its level beside the greeting's."""

import numpy as np

from agent.evaluation.answered_tone import NO_LINE, tones_heard
from model.order_line import Tone
from tests.signals import tone

RATE_HZ = 24_000
OPEN = "from seven in the morning to six at night"
HOURS = {
    Tone.CALM: f"we are open {OPEN}",
    Tone.HURRIED: OPEN,
    Tone.ANGRY: f"i am sorry you can always ask for a person we are open {OPEN}",
}


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
    assert heard(outcome("", gap_s=None), spoken(1.0)) == NO_LINE
    assert tones_heard({"greeting_after_s": None, "turns": []}, spoken(1.0)) == []
    ungreeted = outcome(HOURS[Tone.CALM]) | {"greeting_after_s": None}
    assert heard(ungreeted, spoken(0.32)) == "calm", "softer than what?"


def test_an_answer_ends_where_the_next_turn_begins() -> None:
    """A loud second answer does not lift a soft first one."""
    call = outcome(HOURS[Tone.CALM])
    later = {"heard": HOURS[Tone.CALM], "gap_s": 0.3, "start_s": 8.0, "end_s": 9.0}
    call["turns"] = [*call["turns"], later]  # type: ignore[misc]
    agent = np.concatenate([spoken(0.32), np.zeros(6 * RATE_HZ, np.float32)])
    agent[round(9.3 * RATE_HZ) :][: 2 * RATE_HZ] = tone(300, 2.0, RATE_HZ, amplitude=0.3)
    assert tones_heard(call, agent) == ["whisper", "calm"]
