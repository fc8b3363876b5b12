"""Text first: the greeting is left alone; an answer is written whole, then said in the same words, later."""

import numpy as np
import pytest

from agent.evaluation.offline import over_the_wire
from agent.evaluation.text_first import TextFirst
from agent.wire import FRAME_SAMPLES, PERIOD_S
from model.engine import BUILTIN, Engine
from model.voices import Voice, synthesize

STEP_S = 0.02
GREETED_FRAMES, LISTEN_FRAMES = 50, 85


@pytest.mark.timeout(120)  # loads torch
def test_an_answer_is_written_before_it_is_heard() -> None:
    first = TextFirst(Engine.load(BUILTIN, 2, greedy=True), STEP_S)
    assert first.num_slots == 1
    first.start(0, seed=1)
    asked = over_the_wire(0.4 * synthesize("what are your opening hours", Voice("flite", "awb")).pcm)
    pcm = np.zeros((GREETED_FRAMES + LISTEN_FRAMES) * FRAME_SAMPLES, np.float32)
    pcm[GREETED_FRAMES * FRAME_SAMPLES :][: len(asked)] = asked
    active = np.ones(1, np.bool_)
    steps = [first.step(frame[None], active) for frame in pcm.reshape(-1, FRAME_SAMPLES)]
    text = [int(step.text[0]) for step in steps]
    assert first.tokenizer.decode(text[:GREETED_FRAMES]) == "off hook coffee what can i get you"
    words = [at for at, token in enumerate(text) if at >= GREETED_FRAMES and first.tokenizer.piece(token)]
    assert len(first.waits_s) >= 1 and first.waits_s[0] > 5 * STEP_S
    away = round(np.ceil(first.waits_s[0] / PERIOD_S))
    level = [float(np.abs(step.pcm).max()) for step in steps]
    quiet = range(words[0] - away, words[0])
    assert max(level[at] for at in quiet) < 0.05, "silent while the text is written"
    assert (
        first.tokenizer.decode(text[GREETED_FRAMES:])
        == "we are open from seven in the morning to six at night"
    )
    assert len(first.waits_s) == 1, "then what was written is said, and not written again"
    first.stop(0)
    first.start(0, seed=2)
