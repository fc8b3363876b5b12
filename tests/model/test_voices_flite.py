"""flite's utterance structure becomes words and phones."""

import pytest

from model.voices_flite import speak
from model.voices_phones import SpeechSynthesisError


def test_phones_are_those_of_the_words() -> None:
    said = speak("soy milk", "rms", 1.0, 1.0)
    soy, milk = said.words
    inside = [p.phone for p in said.phones if soy.start_s - 1e-6 <= p.start_s < soy.end_s - 1e-6]
    assert inside == ["s", "oy"]
    assert milk.start_s == pytest.approx(soy.end_s)
    assert said.rate_hz == 16_000


def test_a_number_is_one_word() -> None:
    assert [word.text for word in speak("John's 24 cups - now", "kal16", 1.0, 1.0).words] == [
        "john's", "24", "cups", "now",
    ]  # fmt: skip


def test_unknown_voice_is_refused() -> None:
    with pytest.raises(SpeechSynthesisError, match="no voice 'nobody'"):
        speak("hello", "nobody", 1.0, 1.0)
