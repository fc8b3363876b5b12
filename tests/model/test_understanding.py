"""Transcripts become requests: of trained wordings nearly all, of held-out ones most."""

import random

import pytest

from model.order import Order
from model.phrasings import Intent, Tone
from model.requests import draw_request
from model.understanding import interpret


@pytest.mark.parametrize(("held_out", "least"), [(False, 0.99), (True, 0.97)])
def test_what_callers_say_is_interpreted(held_out: bool, least: float) -> None:
    rng = random.Random(1)
    right = 0
    for _ in range(1000):
        asked = draw_request(rng, rng.choice(list(Intent)), held_out=held_out, is_lively=True)
        got = interpret(asked.text)
        same = (got.order, got.change, got.number) == (asked.order, asked.change, asked.number)
        # "Okay" is a hum or a yes: only who speaks besides tells.
        is_yes = asked.intent is Intent.BACKCHANNEL and got.intent is Intent.YES
        right += same and (got.intent is asked.intent or is_yes)
    assert right / 1000 >= least


def test_the_first_words_tell_the_tone() -> None:
    assert interpret("I'm in a hurry when do you close").tone is Tone.HURRIED
    angry = interpret("this is ridiculous can I get a latte")
    assert (angry.tone, angry.order) == (Tone.ANGRY, Order("latte"))
    assert interpret("when do you close").tone is Tone.CALM
    assert interpret("a latte", Tone.WHISPER).tone is Tone.WHISPER


def test_what_fits_nothing_is_off_the_line_and_a_mumble_is_unclear() -> None:
    assert interpret("the moon is bright over the harbour").intent is Intent.OTHER
    assert interpret("um").intent is Intent.UNCLEAR
    assert interpret("").intent is Intent.UNCLEAR
