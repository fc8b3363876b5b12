"""festival answers request after request, and comes back after it was closed."""

import numpy as np
import pytest

from model import voices_festival
from model.voices_phones import SpeechSynthesisError


def test_words_are_joined_from_their_parts() -> None:
    said = voices_festival.speak("John's 24 drive-through", "kal", 1.0, 1.0)
    assert [word.text for word in said.words] == ["john's", "24", "drive-through"]
    assert all(word.end_s > word.start_s for word in said.words)


def test_text_cannot_leave_its_quotes() -> None:
    said = voices_festival.speak('say "hello" now', "ked", 1.0, 1.0)
    assert [word.text for word in said.words] == ["say", "hello", "now"]


def test_it_starts_again_after_it_was_closed() -> None:
    first = voices_festival.speak("hello", "ked", 1.0, 1.0)
    voices_festival.close()
    np.testing.assert_array_equal(voices_festival.speak("hello", "ked", 1.0, 1.0).pcm, first.pcm)
    voices_festival.close()


def test_unknown_voice_is_refused_and_the_child_lives_on() -> None:
    with pytest.raises(SpeechSynthesisError, match="nobody"):
        voices_festival.speak("hello", "nobody", 1.0, 1.0)
    assert voices_festival.speak("hello", "kal", 1.0, 1.0).words[0].text == "hello"
