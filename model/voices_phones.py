"""Timed words and phones, and the tables from each synthesiser's phones to one inventory. No I/O here."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import VoiceError

SILENCE = "sil"
PHONES: tuple[str, ...] = tuple(
    """sil aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z
    zh""".split()
)
PHONE_IDS: dict[str, int] = {phone: index for index, phone in enumerate(PHONES)}


class SpeechSynthesisError(VoiceError):
    """A synthesiser is missing, refused the text, or answered in a form that we do not know."""


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word of the text, lower case and without punctuation, with its place in the audio."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class TimedPhone:
    """One phone of `PHONES` with its place in the audio."""

    phone: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Speech:
    """What an engine returns: float32 [T] at its own rate, with times in seconds of that audio."""

    pcm: NDArray[np.float32]
    rate_hz: int
    words: list[TimedWord]
    phones: list[TimedPhone]


def from_int16(sound: bytes) -> NDArray[np.float32]:
    """float32 [T] in -1..1 from 16-bit samples in the machine's byte order."""
    return np.asarray(np.frombuffer(sound, np.int16) / 32768, np.float32)


def plain_word(token: str) -> str:
    """The token as transcripts write it: lower case, outer punctuation stripped ("" for a lone dash)."""
    return token.strip(string.punctuation).lower()


# No engine knows how people hum agreement: they would spell it.
_HUMMED = {"mhm": "umhum", "mm-hm": "um-hum"}
_WRITTEN = {sound: word for word, sound in _HUMMED.items()}


def as_written(word: str) -> str:
    """A word that an engine was given, as the text had it."""
    return _WRITTEN.get(word, word)


def speakable(text: str) -> str:
    """The text in ASCII with plain apostrophes, hums spelt as engines say them.

    Raises SpeechSynthesisError for what cannot be spoken.
    """
    ascii_text = " ".join(text.replace("\u2019", "'").replace("\u2018", "'").split())
    if not ascii_text.isascii() or not any(plain_word(token) for token in ascii_text.split()):
        raise SpeechSynthesisError(f"cannot speak {text!r}: give English words in ASCII")
    return re.sub(r"(?i)\b(mm-hm|mhm)\b", lambda hum: _HUMMED[hum[0].lower()], ascii_text)


def split_evenly(phones: Sequence[str], start_s: float, end_s: float) -> list[TimedPhone]:
    """Phones that share one stretch of time (a diphthong written as two) get equal parts of it."""
    edges = [start_s + (end_s - start_s) * i / len(phones) for i in range(len(phones) + 1)]
    return [TimedPhone(p, a, b) for p, a, b in zip(phones, edges[:-1], edges[1:], strict=True)]


# flite and festival: ARPAbet with the reduced vowels and allophones of the radio phone set.
_ARPABET_VARIANTS = {
    "pau": ("sil",), "ssil": ("sil",), "h#": ("sil",), "brth": ("sil",), "#": ("sil",),
    "ax": ("ah",), "axr": ("er",), "dx": ("t",), "hv": ("hh",), "nx": ("n",),
    "el": ("ah", "l"), "em": ("ah", "m"), "en": ("ah", "n"),
}  # fmt: skip
ARPABET: dict[str, tuple[str, ...]] = {phone: (phone,) for phone in PHONES} | _ARPABET_VARIANTS

# espeak-ng: the mnemonics that its English voices emit (4,000 dictionary words spoken in each accent).
_ESPEAK_SHARED = {
    "_": "sil", "_:": "sil", "_!": "sil", "_|": "sil", "_::": "sil", "p": "p", "b": "b", "t": "t",
    "t#": "t", "t2": "t", "t[": "t", "?": "t", "d": "d", "d[": "d", "k": "k", "g": "g", "tS": "ch",
    "dZ": "jh", "f": "f", "v": "v", "T": "th", "D": "dh", "s": "s", "z": "z", "S": "sh", "Z": "zh",
    "h": "hh", "x": "k", "C": "k", "m": "m", "n": "n", "n-": "ah n", "m-": "ah m", "N": "ng", "l": "l",
    "L": "l", "l-": "ah l", "@L": "ah l", "r": "r", "r-": "r", "w": "w", "w#": "w", "j": "y", ";": "y",
    "I": "ih", "I2": "ih", "I#": "ih", "i": "iy", "i:": "iy", "E": "eh", "E2": "eh", "E#": "eh", "a": "ae",
    "a#": "ah", "aa": "aa", "A:": "aa", "A~": "aa n", "O~": "ao n", "0": "aa", "0#": "ah", "O:": "ao",
    "O": "ao", "O2": "ao", "V": "ah", "@": "ah", "@2": "ah", "@5": "ah", "@-": "ah", "U": "uh", "u:": "uw",
    "u": "uw", "eI": "ey", "aI": "ay", "aI2": "ay", "aU": "aw", "oU": "ow", "o": "ow", "OI": "oy", "3:": "er",
    "VR": "ah r", "IR": "ih r", "ER": "eh r",
}  # fmt: skip
_ESPEAK_RHOTIC = {
    "3": "er", "A@": "aa r", "O@": "ao r", "o@": "ao r", "e@": "eh r", "i@": "iy ah", "i@3": "iy r",
    "U@": "uh r", "aI@": "ay ah", "aI3": "ay er", "aU@": "aw er",
}  # fmt: skip
_ESPEAK_R_LESS = {
    "3": "ah", "A@": "aa", "O@": "ao", "o@": "ao", "e@": "eh", "i@": "iy ah", "i@3": "iy ah", "U@": "uh ah",
    "aI@": "ay ah", "aI3": "ay ah", "aU@": "aw ah",
}  # fmt: skip
_SHORT_BATH = {"aa": "ae"}  # "past" with the vowel of "pat"


def _espeak_table(*parts: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {mnemonic: tuple(phones.split()) for part in parts for mnemonic, phones in part.items()}


_RHOTIC = _espeak_table(_ESPEAK_SHARED, _ESPEAK_RHOTIC, _SHORT_BATH)
_R_LESS = _espeak_table(_ESPEAK_SHARED, _ESPEAK_R_LESS)
ESPEAK: dict[str, dict[str, tuple[str, ...]]] = {
    "en-us": _RHOTIC, "en-us-nyc": _espeak_table(_ESPEAK_SHARED, _ESPEAK_R_LESS, _SHORT_BATH), "en": _R_LESS,
    "en-gb-x-rp": _R_LESS, "en-gb-scotland": _RHOTIC, "en-gb-x-gbclan": _R_LESS, "en-gb-x-gbcwmd": _R_LESS,
    "en-029": _RHOTIC,
}  # fmt: skip


def to_inventory(symbol: str, table: dict[str, tuple[str, ...]], engine: str) -> tuple[str, ...]:
    """The inventory's phones for one engine symbol; an unknown one raises SpeechSynthesisError."""
    try:
        return table[symbol]
    except KeyError:
        raise SpeechSynthesisError(
            f"{engine} spoke a phone that has no place in the table: {symbol!r}"
        ) from None
