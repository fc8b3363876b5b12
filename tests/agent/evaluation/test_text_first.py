"""Text first: an answer's words are all written before its sound begins, and the same words are said."""

import numpy as np
import pytest

from agent.evaluation.judge import Judge
from agent.evaluation.text_first import TextFirst
from agent.wire import FRAME_SAMPLES
from model.engine import BUILTIN, Engine
from model.order_line import GREETING

STEP_S = 0.02


@pytest.mark.timeout(120)  # loads torch
def test_the_greeting_is_written_then_said() -> None:
    first = TextFirst(Engine.load(BUILTIN, 2), STEP_S)
    assert first.num_slots == 1
    first.start(0, seed=1)
    silence, all_ = np.zeros((1, FRAME_SAMPLES), np.float32), np.ones(1, np.bool_)
    steps = [first.step(silence, all_) for _ in range(75)]
    agent = np.concatenate([step.pcm[0] for step in steps])
    assert Judge().hear(agent).says(GREETING.text)
    (wait_s,) = first.waits_s
    assert 10 * STEP_S < wait_s < 60 * STEP_S
    words = [number for number, step in enumerate(steps) if first.tokenizer.piece(int(step.text[0]))]
    voiced = np.flatnonzero(np.abs(agent) > 0.05)[0] / FRAME_SAMPLES
    assert voiced > words[0] + wait_s / 0.08 - 1
