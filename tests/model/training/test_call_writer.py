"""What is placed after all else: the agent's voice as it comes back. The rest is seen in test_dialogues."""

import random
from dataclasses import replace

import numpy as np

from model.tokenizer import TextTokenizer
from model.training.bank import ECHO
from model.training.dialogues import Scriptwriter
from model.training.tokens_stage import AFTER_FRAMES, BEFORE_FRAMES
from tests.model.training import made

NUM_COLUMNS = 480


def test_a_loudspeaker_gives_back_what_the_agent_says_and_nothing_else(alphabet: TextTokenizer) -> None:
    """Over all of its speech but where the caller talks; the agent says what it would have said without."""
    requests = made.REQUESTS[5:10]
    loud = made.stem((*requests, None, None), kind=ECHO)
    echoes = [turn for turn in loud.turns if turn.request is None]
    plain = replace(loud, turns=[turn for turn in loud.turns if turn.request is not None])
    sounds = np.concatenate([np.arange(turn.first, turn.last + 1) for turn in echoes])
    talk = [range(t.first - BEFORE_FRAMES, t.last + AFTER_FRAMES) for t in plain.turns if t.request]
    writer = Scriptwriter(made.agent_library(), alphabet, NUM_COLUMNS)
    num_over = num_spoken = 0
    for seed in range(20):
        call, alone = (writer.draw(stem, random.Random(seed)) for stem in (loud, plain))
        np.testing.assert_array_equal(call.agent, alone.agent)
        np.testing.assert_array_equal(call.text, alone.text)
        is_echo, spoken = np.isin(call.caller[0], sounds), np.zeros(NUM_COLUMNS + 1, bool)
        spoken[1:] = call.agent.any(0)  # the sound of a column is heard once the next is drawn
        is_talk = np.isin(call.caller[0], np.concatenate(talk))
        assert not (is_echo & ~spoken[:-1]).any()
        assert (is_echo | is_talk)[spoken[:-1]].all()
        num_over, num_spoken = num_over + is_echo.sum(), num_spoken + spoken.sum()
    assert num_over > 0.7 * num_spoken
