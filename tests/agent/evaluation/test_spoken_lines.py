"""An engine that is told to say something is heard to its end, once for each text."""

import numpy as np
import pytest

from agent.energy_gate import Pcm
from agent.evaluation.spoken_lines import first_talk, say_all
from tests.agent.evaluation.parties import Manners, Parties
from tests.agent.evaluation.scenes import channel


def test_each_text_is_said_once_and_heard_whole() -> None:
    engine, heard = Parties(Manners(greeting=""), 2), dict[int, Pcm]()
    say_all(engine, engine, ["one", "one two three four five", "one two"], heard.__setitem__)
    assert sorted(heard) == [0, 1, 2] and [len(told) for told in engine.told] == [1, 5, 2]
    seconds = [len(heard[number]) / 24_000 for number in range(3)]
    assert 0.3 < seconds[0] < seconds[2] < seconds[1] < 3.0
    assert engine.parties == [None, None]


def test_an_engine_that_says_nothing_is_given_up_on() -> None:
    class Mute(Parties):
        def say(self, slot: int, tokens: object) -> None: ...

    engine, heard = Mute(Manners(greeting="")), dict[int, Pcm]()
    say_all(engine, engine, ["one"], heard.__setitem__)
    assert len(heard[0]) == 0


def test_the_first_talk_is_cut_out() -> None:
    cut = first_talk(channel([(1.0, 1.5), (1.9, 2.4), (4.0, 5.0)], 6.0))
    assert len(cut) / 24_000 == pytest.approx(1.6, abs=0.04)
    assert len(first_talk(np.zeros(24_000, np.float32))) == 0
