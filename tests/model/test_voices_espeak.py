"""espeak-ng's events become words and phones."""

import pytest

from model.voices_espeak import speak
from model.voices_phones import SpeechSynthesisError


def test_words_that_espeak_runs_together_share_their_time() -> None:
    said = speak("a cup of the coffee to be", "en-us", "", 1.0, 1.0)
    assert [word.text for word in said.words] == "a cup of the coffee to be".split()
    assert all(word.end_s - word.start_s > 0.03 for word in said.words)


def test_accents_pronounce_their_own_way() -> None:
    rhotic = [p.phone for p in speak("four", "en-us", "", 1.0, 1.0).phones if p.phone != "sil"]
    r_less = [p.phone for p in speak("four", "en", "", 1.0, 1.0).phones if p.phone != "sil"]
    assert (rhotic, r_less) == (["f", "ao", "r"], ["f", "ao"])


def test_a_number_is_one_word() -> None:
    assert [word.text for word in speak("take 24 cups", "en", "f3", 1.0, 1.0).words] == ["take", "24", "cups"]


def test_unknown_voice_is_refused() -> None:
    with pytest.raises(SpeechSynthesisError, match="no voice 'en-nowhere'"):
        speak("hello", "en-nowhere", "", 1.0, 1.0)
