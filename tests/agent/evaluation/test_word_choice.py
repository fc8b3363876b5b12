"""Words of a known sentence are chosen among others that sound alike: speech chooses well, noise does not."""

from itertools import pairwise

import numpy as np
import pytest

from agent.evaluation.word_choice import NUM_FOILS, WordChooser, foils_of, read_dictionary
from model.said_sentences import HELD_OUT_SENTENCES
from model.voices import AGENT_VOICE, synthesize

SENTENCES = HELD_OUT_SENTENCES[:3]


@pytest.fixture(scope="module")
def chooser() -> WordChooser:
    return WordChooser(SENTENCES)


def test_foils_sound_alike_and_are_no_homophones() -> None:
    dictionary = read_dictionary()
    foils = foils_of(["month", "bus", "library"], dictionary)
    for word, others in foils.items():
        assert len(set(others)) == NUM_FOILS and word not in others
        assert all(dictionary[other] != dictionary[word] for other in others)
    near = [sum(a != b for a, b in zip(dictionary["bus"], dictionary[o], strict=True)) for o in foils["bus"]]
    assert near == [1] * NUM_FOILS
    assert foils_of(["bus"], dictionary) == {"bus": foils["bus"]}  # the same for any company
    assert foils_of(["zzyzxq"], dictionary) == {}


def test_clear_speech_is_understood_and_another_sentence_is_not(chooser: WordChooser) -> None:
    right = said = wrong = 0
    for text, other in pairwise(SENTENCES):
        understood, num = chooser.hear(text, synthesize(text, AGENT_VOICE).pcm)
        right, said = right + understood, said + num
        wrong += chooser.hear(text, synthesize(other, AGENT_VOICE).pcm)[0]
    assert right >= 0.8 * said and wrong <= 0.5 * said
    assert said == sum(len(text.split()) for text in SENTENCES[:-1])


def test_silence_says_nothing_for_certain(chooser: WordChooser) -> None:
    right, num = chooser.hear(SENTENCES[0], np.zeros(12_000, np.float32))
    assert right <= 0.5 * num
