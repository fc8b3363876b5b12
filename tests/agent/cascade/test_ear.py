"""A turn ends once, with its words, as soon as they allow; a pause at an unfinished point ends none."""

import numpy as np

from agent.cascade.ear import Ear, Turn
from agent.energy_gate import Pcm
from agent.settings import CascadeSettings
from model.order import Order
from model.phrasings import Intent
from model.understanding import interpret
from model.voices import SAMPLE_RATE_HZ
from telephony.endpoint import FRAME_SAMPLES
from tests.agent.cascade.conftest import Say


def turns(ear: Ear, pcm: Pcm) -> list[tuple[float, Turn]]:
    """Each turn and the second at which it was given."""
    ear.reset()
    found = []
    for number, frame in enumerate(pcm.reshape(-1, FRAME_SAMPLES), 1):
        heard = ear.hear(frame)
        if heard.turn is not None:
            found.append((number * FRAME_SAMPLES / SAMPLE_RATE_HZ, heard.turn))
    return found


def test_a_whole_request_ends_early_and_is_understood(ear: Ear, say: Say) -> None:
    pcm = say("what are your opening hours", after_s=1.6)
    ((at_s, turn),) = turns(ear, pcm)
    assert interpret(turn.words).intent is Intent.HOURS, turn.words
    ended_s = len(pcm) / SAMPLE_RATE_HZ - 1.6
    assert 0.2 < at_s - ended_s < 0.7
    assert 0.9 < turn.speech_s < 2.0 and not len(turn.pcm)


def test_a_pause_in_an_unfinished_sentence_is_waited_out(ear: Ear, say: Say) -> None:
    parts = [say("can I get a large", after_s=0.3), say("coffee with soy milk", before_s=0.2)]
    ((_at_s, turn),) = turns(ear, np.concatenate(parts))
    order = interpret(turn.words).order
    assert order is not None and (order.size, order.milk) == ("large", "soy milk"), turn.words


def test_noise_and_clicks_are_no_turn(ear: Ear) -> None:
    pcm = np.random.default_rng(0).normal(0, 0.003, 25 * FRAME_SAMPLES).astype(np.float32)
    pcm[20_000:20_200] += 0.5
    assert turns(ear, pcm) == []


def test_for_a_recogniser_elsewhere_the_sound_is_kept(say: Say) -> None:
    elsewhere = Ear(CascadeSettings(stt_url="http://127.0.0.1:1/v1", stt_model="any"))
    pcm = say("hello there")
    ((_at_s, turn),) = turns(elsewhere, pcm)
    assert turn.words == "" and turn.pcm.dtype == np.int16
    assert len(turn.pcm) > 0.5 * 16_000 and np.abs(turn.pcm).max() > 3_000


def test_an_order_said_twice_is_two_turns(ear: Ear, say: Say) -> None:
    pcm = np.concatenate([say("a small mocha please"), say("yes please")])
    first, second = turns(ear, pcm)
    assert interpret(first[1].words).order == Order("mocha", "small"), first
    assert interpret(second[1].words).intent is Intent.YES, second
