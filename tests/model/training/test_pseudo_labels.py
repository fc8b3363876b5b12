"""What is heard with certainty is labelled; the rest is known to be unknown."""

from dataclasses import replace

import numpy as np
import pytest

from model.training.alignment import Aligner, NotAligned
from model.training.bank import NO_LABEL, phone_labels
from model.training.pseudo_labels import HeardWord, OpenTranscriber, label
from model.voices import Voice, synthesize

SPEECH = synthesize("we will go to the park today", Voice("flite", "rms"))
ALIGNER = Aligner()


@pytest.fixture(scope="module")
def heard() -> list[HeardWord]:
    return OpenTranscriber().hear(SPEECH.pcm)


def test_words_heard_lie_where_they_were_said(heard: list[HeardWord]) -> None:
    words, phones = label(SPEECH.pcm, heard, ALIGNER)
    said = {word.text: word for word in SPEECH.words}
    shared = [word for word in words if word.text in said]
    assert len(shared) >= 5
    assert np.median([abs(word.end_s - said[word.text].end_s) for word in shared]) < 0.05
    times_s = np.arange(0, SPEECH.duration_s, 0.02)
    found, truth = phone_labels(phones, times_s), phone_labels(SPEECH.phones, times_s)
    sure = found != NO_LABEL
    assert sure.mean() > 0.5
    assert np.mean(found[sure] == truth[sure]) > 0.7


def test_unsure_words_teach_nothing(heard: list[HeardWord]) -> None:
    doubtful = [replace(word, posterior=0.1 if at == 2 else 0.9) for at, word in enumerate(heard)]
    words, phones = label(SPEECH.pcm, doubtful, ALIGNER)
    middles_s = np.array([(word.start_s + word.end_s) / 2 + 0.01 for word in words])
    assert [at for at, phone in enumerate(phone_labels(phones, middles_s)) if phone == NO_LABEL] == [2]


def test_what_is_mostly_guessed_is_left_out(heard: list[HeardWord]) -> None:
    with pytest.raises(NotAligned, match="too little certainty"):
        label(SPEECH.pcm, [replace(word, posterior=0.4) for word in heard], ALIGNER)
    with pytest.raises(NotAligned, match="no words heard"):
        label(SPEECH.pcm, [], ALIGNER)
