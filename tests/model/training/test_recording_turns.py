"""Every layout's recordings become turns; files laid out as owners do, synthetic speech in them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.channel import resample
from model.order_line import Intent, Order, Request
from model.training.alignment import NotAligned
from model.training.recording_folder import Recording
from model.training.recording_turns import NOISE_PIECE_S, TurnMaker
from model.voices import Voice, synthesize

MAKER = TurnMaker()


def _file(folder: Path, text: str, rate_hz: int = 16_000) -> Path:
    path = folder / "a.flac"
    soundfile.write(path, resample(synthesize(text, Voice("flite", "rms")).pcm, 24_000, rate_hz), rate_hz)
    return path


def test_an_order_gets_its_words_and_their_times(tmp_path: Path) -> None:
    recording = Recording(
        _file(tmp_path, "give me a large latte"), slots=(("coffeeDrink", "latte"), ("size", "large"))
    )
    [turn] = MAKER.make(recording, "orders")
    assert [word.text for word in turn.words] == ["give", "me", "a", "large", "latte"]
    assert turn.request == Request(Intent.ORDER, "give me a large latte", Order("latte", "large"))
    assert turn.words[-1].end_s < len(turn.pcm) / 24_000


def test_a_digit_at_8_khz_is_aligned(tmp_path: Path) -> None:
    [turn] = MAKER.make(Recording(_file(tmp_path, "seven", 8_000), "seven"), "digits")
    assert [word.text for word in turn.words] == ["seven"]
    assert [p.phone for p in turn.phones if p.phone != "sil"] == ["s", "eh", "v", "ah", "n"]


def test_a_word_without_known_text_is_kept_as_sound(tmp_path: Path) -> None:
    path = _file(tmp_path, "hello")
    [turn] = MAKER.make(Recording(path), "words")
    assert (turn.words, len(turn.pcm) > 0) == ([], True)
    [turn] = MAKER.make(Recording(path, "hello"), "words")
    assert [word.text for word in turn.words] == ["hello"]
    [turn] = MAKER.make(Recording(path, "snorkelblatt"), "words")
    assert turn.words == [], "the dictionary lacks it"


def test_noise_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "street.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, round(8_000 * (NOISE_PIECE_S + 3))), 8_000)
    turns = MAKER.make(Recording(path), "noise")
    assert [len(turn.pcm) / 24_000 for turn in turns] == pytest.approx([NOISE_PIECE_S, 3.0], abs=0.01)
    (tmp_path / "street.wav").write_bytes(b"RIFF")
    with pytest.raises(NotAligned, match="not a sound file"):
        MAKER.make(Recording(path), "noise")
