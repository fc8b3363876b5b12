"""Four calls share their words and differ in tone."""

import numpy as np
import pytest

from agent.evaluation.versus_tone import (
    CHANCE,
    LEVEL_DBFS,
    TONES,
    tone_figures,
    tone_of,
    tone_script,
)
from model.channel import active_rms

RATE_HZ = 24_000


def test_four_calls_have_the_same_words_at_one_level_in_four_tones() -> None:
    calls = [tone_script(number, 3) for number in range(4, 8)]
    steps = [call.steps[0] for call in calls]
    assert len({step.step.request.text for step in steps if step.step.request}) == 1
    assert len({call.voice.name for call in calls}) == 1 and [tone_of(n) for n in range(4, 8)] == list(TONES)
    levels_db = [20 * np.log10(active_rms(step.pcm, RATE_HZ)) for step in steps]
    assert levels_db == pytest.approx([LEVEL_DBFS] * 4, abs=1.5)
    assert len({len(step.pcm) for step in steps}) == 4, "each is said in its own way"


def test_who_answers_all_tones_alike_is_at_chance() -> None:
    alike = tone_figures("cascade", [(one, "calm") for one in TONES for _ in range(3)])
    assert alike.in_tone.value == CHANCE == 0.25 and alike.answers["angry"] == {"calm": 3}
    assert tone_figures("model", [(one, one.value) for one in TONES]).in_tone.value == 1.0
