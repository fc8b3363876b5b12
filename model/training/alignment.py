"""Where each word and phone lies in a recording whose text is known: forced alignment with pocketsphinx.

The recogniser is imported when it is first wanted; a machine that only trains on aligned shards needs none.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.channel import resample
from model.config import SAMPLE_RATE_HZ
from model.errors import RecordingError
from model.voices_phones import ARPABET, SILENCE, TimedPhone, TimedWord, plain_word, to_inventory

# Score per frame. Read sentences reach -7 to -15 with their own text, -37 and less with another's; digits
# at 8 kHz -7 to -24 with their own.
WORST_FIT = -20.0
_RATE_HZ = 16_000  # of the acoustic model
_PADDING_S = 0.3
_FRAME_S = 0.01
_FRAME_CENTRE_S = 0.008  # its window of 25.6 ms reaches that much further to the right than to the left
_PEAK = 16_000
_FLOOR = 10  # as in `agent/evaluation/judge.py`: the acoustic model knows no digital silence
_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u2013": " ", "\u2014": " "})


@dataclass(frozen=True, slots=True)
class _Part:
    """A word or phone as the recogniser found it, in frames."""

    name: str
    start: int
    duration: int
    score: int
    phones: tuple[_Part, ...] = ()

    @property
    def is_filler(self) -> bool:
        return self.name[0] in "<["  # <sil>, [NOISE], [SPEECH]


class NotAligned(Exception):
    """This recording cannot be used; the text is the reason, the same for all that fail alike."""


class Aligner:
    """One recogniser. What it has heard may move later boundaries by a frame: one for each shard, then."""

    def __init__(self, worst_fit: float = WORST_FIT) -> None:
        self._worst_fit = worst_fit
        self._decoder: Any = load_decoder()

    def words(self, text: str) -> list[str]:
        """The text's words as the dictionary writes them; compounds that it lacks come apart.

        Raises NotAligned if the dictionary lacks a word.
        """
        lookup = self._decoder.lookup_word
        letters = unicodedata.normalize("NFKD", text.translate(_PLAIN)).encode("ascii", "ignore").decode()
        words: list[str] = []
        for token in letters.replace("--", " ").split():
            word = plain_word(token)
            words += [word] if word and lookup(word) else filter(None, word.split("-"))
        if not words:
            raise NotAligned("no English words in the text")
        if not all(map(lookup, words)):
            raise NotAligned("a word that the dictionary lacks")
        return words

    def align(self, pcm: NDArray[np.float32], text: str) -> tuple[list[TimedWord], list[TimedPhone]]:
        """The words and phones of a text in float32 [T] at 24 kHz, timed from the first sample.

        Raises NotAligned if a word has no known pronunciation, or the sound is not of this text.
        """
        words = self.words(text)
        parts = self._find(sound_for_recogniser(pcm), words)
        heard = [part for part in parts if not part.is_filler]
        if [re.sub(r"\(\d+\)$", "", part.name) for part in heard] != words or _fit(parts) < self._worst_fit:
            raise NotAligned("sound that does not fit the text")
        end_s = len(pcm) / SAMPLE_RATE_HZ
        timed = [TimedWord(word, *_span(part, end_s)) for word, part in zip(words, heard, strict=True)]
        phones = [TimedPhone(name, *_span(phone, end_s)) for part in parts for name, phone in _phones(part)]
        return timed, [phone for phone in phones if phone.end_s > phone.start_s]

    def _find(self, sound: bytes, words: list[str]) -> list[_Part]:
        """Words and fillers with their phones; none, and a fresh recogniser, if there is no way through."""
        try:
            parts = _two_passes(self._decoder, sound, words)
        except RuntimeError:  # its way to say that no path leads to the end
            parts = []
        if not parts:
            self._decoder = load_decoder()
        return parts


def load_decoder(*, open_vocabulary: bool = False) -> Any:
    """The recogniser with its dictionary; with `open_vocabulary` its language model and posteriors too.

    Raises RecordingError if it is not installed.
    """
    try:
        from pocketsphinx import Decoder
    except ImportError:
        raise RecordingError(
            "pocketsphinx, which aligns recordings, is missing: run `pip install pocketsphinx`, or the stage "
            "`recordings` on a machine that has it, and copy the working folder"
        ) from None
    if open_vocabulary:
        # Half the time of the defaults; of 16 read sentences as many phones came out right (95 %).
        return Decoder(loglevel="FATAL", samprate=_RATE_HZ, fwdflat=False, maxwpf=10, maxhmmpf=3000)
    # Without the lattice's best path, which leaves phones too few frames (cmusphinx/pocketsphinx, pull 500).
    return Decoder(loglevel="FATAL", lm=None, samprate=_RATE_HZ, bestpath=False)


def sound_for_recogniser(pcm: NDArray[np.float32]) -> bytes:
    """16-bit sound at the model's rate and level, with quiet around it."""
    quiet = np.zeros(round(_PADDING_S * _RATE_HZ), np.float32)
    sound = np.concatenate([quiet, resample(pcm, SAMPLE_RATE_HZ, _RATE_HZ), quiet])
    sound = sound * (_PEAK / max(float(np.abs(sound).max()), 1e-4))
    sound = sound + np.random.default_rng(0).normal(0, _FLOOR, len(sound))
    return sound.astype(np.int16).tobytes()


def _two_passes(decoder: Any, sound: bytes, words: list[str]) -> list[_Part]:
    """Words and fillers with their phones, none if there is no way through.

    The first pass finds the words and the silences between them, the second the phones inside.
    """
    decoder.set_align_text(" ".join(words))
    search(decoder, sound)
    if decoder.hyp() is None:
        return []
    decoder.set_alignment()
    search(decoder, sound)
    # Copied inside the loop: an entry lives no longer than its turn, and reading a stale one crashes.
    return [
        _Part(
            word.name,
            word.start,
            word.duration,
            word.score,
            tuple(_Part(phone.name, phone.start, phone.duration, phone.score) for phone in word),
        )
        for word in decoder.get_alignment() or ()
    ]


def search(decoder: Any, sound: bytes) -> None:
    """Let the decoder hear 16-bit sound at its rate, from first to last."""
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def _fit(parts: list[_Part]) -> float:
    return sum(part.score for part in parts) / max(1, sum(part.duration for part in parts))


def _phones(part: _Part) -> list[tuple[str, _Part]]:
    if part.is_filler:
        return [(SILENCE, part)]
    return [(to_inventory(phone.name.lower(), ARPABET, "pocketsphinx")[0], phone) for phone in part.phones]


def _span(part: _Part, end_s: float) -> tuple[float, float]:
    """First and last moment of a part in the recording before padding."""
    start_s = part.start * _FRAME_S + _FRAME_CENTRE_S - _PADDING_S
    return min(max(start_s, 0.0), end_s), min(max(start_s + part.duration * _FRAME_S, 0.0), end_s)
