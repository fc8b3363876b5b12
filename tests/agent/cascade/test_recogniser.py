"""The recogniser hears an order in telephone sound, also while it is being said."""

import numpy as np

from agent.cascade.ear import Ear
from agent.cascade.recogniser import RATE_HZ, GrammarRecogniser, Keeper
from agent.evaluation.offline import over_the_wire
from model.channel import resample
from model.order import Order
from model.understanding import interpret
from tests.agent.cascade.conftest import Say


def test_an_order_is_heard_as_it_is_said(ear: Ear, say: Say) -> None:
    recogniser = ear.recogniser
    assert isinstance(recogniser, GrammarRecogniser)
    pcm = resample(over_the_wire(say("can I get a large latte with soy milk please")), 24_000, RATE_HZ)
    recogniser.begin()
    partials = []
    for at in range(0, len(pcm), 4_096):
        recogniser.push(pcm[at : at + 4_096])
        partials.append(recogniser.partial())
    words = recogniser.end()
    assert interpret(words).order == Order("latte", "large", "soy milk"), words
    assert any(partial and len(partial) < len(words) for partial in partials)
    recogniser.begin()  # again, and an utterance that was not ended is no obstacle
    recogniser.begin()
    assert recogniser.end() == ""


def test_a_keeper_keeps_the_utterance_alone() -> None:
    keeper = Keeper()
    keeper.begin()
    keeper.push(np.ones(3, np.float32))
    keeper.begin()
    keeper.push(np.zeros(2, np.float32))
    keeper.push(np.ones(2, np.float32))
    assert keeper.pcm.tolist() == [0, 0, 1, 1] and keeper.end() == keeper.partial() == ""
