"""The held-out sentences are a hundred, plain, different, and can be spoken and spelt."""

import subprocess
import sys

from model.engine import BUILTIN
from model.said_sentences import HELD_OUT_SENTENCES
from model.tokenizer import load_text_tokenizer
from model.voices_phones import speakable


def test_there_are_a_hundred_different_plain_sentences() -> None:
    assert len(HELD_OUT_SENTENCES) == len(set(HELD_OUT_SENTENCES)) == 100
    for text in HELD_OUT_SENTENCES:
        assert speakable(text) == text and text.endswith(".") and not any(c.isdigit() for c in text)
        assert 5 <= len(text.split()) <= 11


def test_the_alphabet_can_spell_them() -> None:
    tokenizer = load_text_tokenizer(BUILTIN)
    for text in HELD_OUT_SENTENCES:
        assert tokenizer.decode(tokenizer.encode(text)) == text.lower().rstrip(".")


def test_they_are_read_without_torch() -> None:
    code = "import sys, model.said_sentences; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=20, check=False).returncode == 0
