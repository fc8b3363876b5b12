"""Calls of a model that is told how callers speak: the stream says it, and the answers follow it."""

import random

import numpy as np
import pytest

from model.order_line import ANGRY_PREFIX
from model.phrasings import Tone
from model.tokenizer import TextTokenizer
from model.training.call_writer import Call
from model.training.dialogues import Scriptwriter
from model.training.manners import (
    AFTER_FRAMES,
    FIRST_FRAMES,
    MANNERS,
    NOBODY,
    NUM_CODES,
    SETTLED_FRAMES,
    heard_manner,
)
from tests.model.training import scripts

NUM_COLUMNS = 480


def test_every_tone_has_a_code_of_its_own() -> None:
    assert sorted(MANNERS.values()) == list(range(1, NUM_CODES)) and set(MANNERS) == set(Tone)


@pytest.mark.parametrize("tone", Tone)
def test_a_manner_is_told_late_and_surely_at_the_end(tone: Tone) -> None:
    rng, code = random.Random(1), MANNERS[tone]
    told = np.stack([heard_manner(code, 40, rng) for _ in range(200)])
    assert told.shape == (200, 40 + AFTER_FRAMES)
    assert not told[:, :FIRST_FRAMES].any()
    late = told[:, 40 - SETTLED_FRAMES :]
    assert set(np.unique(late)) == {NOBODY, code}, "confused no more"
    assert 0.85 < (late == code).mean() < 0.95
    early = told[:, FIRST_FRAMES : 40 - SETTLED_FRAMES]
    is_doubtful = tone in (Tone.CALM, Tone.HURRIED)
    assert (set(np.unique(early)) - {NOBODY, code} != set()) == is_doubtful


def test_a_short_turn_and_a_sound_beside_are_told_as_well() -> None:
    rng = random.Random(1)
    assert set(heard_manner(MANNERS[Tone.ANGRY], 3, rng)) <= {NOBODY, MANNERS[Tone.ANGRY]}
    beside = {code for _ in range(200) for code in heard_manner(None, 20, rng).tolist()}
    assert beside == set(range(NUM_CODES))


def _calls(words: TextTokenizer, count: int, *, hears_manner: bool) -> list[Call]:
    writer = Scriptwriter(scripts.library(), words, NUM_COLUMNS, hears_manner=hears_manner)
    stem = scripts.stem(tones=(Tone.CALM,))
    return [writer.draw(stem, random.Random(seed)) for seed in range(count)]


def test_the_callers_last_stream_tells_it_and_the_others_stay(alphabet: TextTokenizer) -> None:
    told = _calls(alphabet, 20, hears_manner=True)
    for call in told:
        assert call.caller.shape == (scripts.NUM_CODEBOOKS + 1, NUM_COLUMNS)
        near = np.convolve((call.caller[:-1] == 1).all(0), np.ones(2 * AFTER_FRAMES + 1), "same") > 0
        assert call.caller[-1].any() and not call.caller[-1, ~near].any()
    for call in _calls(alphabet, 5, hears_manner=False):
        assert call.caller.shape == (scripts.NUM_CODEBOOKS, NUM_COLUMNS)


def test_a_calm_sound_that_is_told_as_angry_is_answered_so(alphabet: TextTokenizer) -> None:
    """Calm callers alone, whose codes hold no tone: the answer follows the stream."""
    offer = alphabet.decode(alphabet.encode(ANGRY_PREFIX))
    hits = {True: 0, False: 0}
    for call in _calls(alphabet, 120, hears_manner=True):
        angry = np.flatnonzero(call.caller[-1] == MANNERS[Tone.ANGRY])
        spoken = alphabet.decode(call.text.tolist())
        hits[offer in spoken] += bool(len(angry))
        if offer in spoken:
            assert len(angry)
    assert hits[True] > 10
    for call in _calls(alphabet, 40, hears_manner=False):
        assert offer not in alphabet.decode(call.text.tolist())
