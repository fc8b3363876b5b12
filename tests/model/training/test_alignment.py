"""Forced alignment against the synthesiser's own truth: words and phones lie where they were spoken."""

import builtins
import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.errors import RecordingError
from model.training.alignment import Aligner, NotAligned
from model.training.bank import phone_labels
from model.voices import PHONE_IDS, Voice, synthesize

TEXTS = (
    "I would like a large latte with oat milk please",
    "What are your opening hours on the weekend",
    "The old harbour was quiet, and nobody waited there.",
)
ALIGNER = Aligner()
VOICES = (Voice("flite", "slt"), Voice("flite", "awb"), Voice("festival", "kal"))


def test_words_and_phones_lie_where_they_were_spoken() -> None:
    errors_s: list[float] = []
    agreement: list[float] = []
    for text, voice in zip(TEXTS, VOICES, strict=True):
        speech = synthesize(text, voice)
        words, phones = ALIGNER.align(speech.pcm, text)
        assert [word.text for word in words] == [word.text for word in speech.words]
        for found, truth in zip(words, speech.words, strict=True):
            errors_s += [found.start_s - truth.start_s, found.end_s - truth.end_s]
        times_s = np.arange(0, speech.duration_s, 0.02)
        agreement.append(
            float(np.mean(phone_labels(phones, times_s) == phone_labels(speech.phones, times_s)))
        )
    assert abs(np.median(errors_s)) < 0.02, "no constant shift"
    assert np.median(np.abs(errors_s)) < 0.03
    assert np.percentile(np.abs(errors_s), 90) < 0.08
    assert np.mean(agreement) > 0.75


def test_phones_leave_no_hole_and_stay_inside() -> None:
    speech = synthesize(TEXTS[0], VOICES[0])
    _, phones = ALIGNER.align(speech.pcm, TEXTS[0])
    assert phones[0].start_s == 0
    assert phones[-1].end_s <= speech.duration_s
    for before, after in itertools.pairwise(phones):
        assert after.start_s == pytest.approx(before.end_s, abs=1e-6)
    assert {phone.phone for phone in phones} <= set(PHONE_IDS)


@pytest.mark.parametrize("text", [TEXTS[1], "hours", " ".join(TEXTS)])
def test_another_text_is_refused_and_leaves_no_trace(text: str) -> None:
    speech = synthesize(TEXTS[0], VOICES[0])
    before, _ = ALIGNER.align(speech.pcm, TEXTS[0])
    with pytest.raises(NotAligned, match="does not fit"):
        ALIGNER.align(speech.pcm, text)
    after, _ = ALIGNER.align(speech.pcm, TEXTS[0])
    frames = [
        [round(100 * word.end_s) for word in words] for words in (after, before)
    ]  # of 10 ms: no rounding
    assert frames[0] == pytest.approx(frames[1], abs=3)


def test_a_fresh_aligner_repeats_what_another_did() -> None:
    sounds = [synthesize(text, voice).pcm for text, voice in zip(TEXTS, VOICES, strict=True)]
    once, again = (
        [aligner.align(pcm, text) for pcm, text in zip(sounds, TEXTS, strict=True)]
        for aligner in (Aligner(), Aligner())
    )
    assert once == again


def test_noise_and_a_blink_of_sound_are_refused() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 48_000).astype(np.float32)
    for pcm in (noise, np.zeros(48_000, np.float32), noise[:100], noise[:0]):
        with pytest.raises(NotAligned, match="does not fit"):
            ALIGNER.align(pcm, TEXTS[0])


def test_texts_are_brought_to_the_dictionary() -> None:
    assert ALIGNER.words("Don\u2019t \u201cstop\u201d \u2014 a caf\u00e9\u2026") == [
        "don't",
        "stop",
        "a",
        "cafe",
    ]
    assert ALIGNER.words("one--two well-worn forty-two - X-ray") == [
        *["one", "two", "well", "worn", "forty", "two"],
        "x-ray",
    ]
    for text in ("xqzt hello", "table 42", "\u0434\u0430", "-- ..."):
        with pytest.raises(NotAligned):
            ALIGNER.words(text)


def test_without_pocketsphinx_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> ModuleType:
        if name == "pocketsphinx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(RecordingError, match="pip install pocketsphinx"):
        Aligner()
