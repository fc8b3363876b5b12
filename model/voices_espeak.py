"""espeak-ng in this process: speech with phone and word times from its own events.

The library keeps one global state: call from one thread at a time.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from model.voices_phones import (
    ESPEAK,
    SILENCE,
    Speech,
    SpeechSynthesisError,
    TimedPhone,
    TimedWord,
    from_int16,
    plain_word,
    split_evenly,
    to_inventory,
)

# Constants of speak_lib.h.
_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1
_WORD, _END, _PHONEME = 1, 5, 7
_RATE, _PITCH = 1, 3
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_NORMAL_WORDS_PER_MINUTE = 175


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(slots=True)
class _Heard:
    """What the callback collected: 16-bit sound and (type, text position or mnemonic, sample) events."""

    sound: bytearray = field(default_factory=bytearray)
    words: list[tuple[int, int]] = field(default_factory=list)  # (position in the text, phones before)
    phones: list[tuple[str, int]] = field(default_factory=list)  # (mnemonic, first sample)

    def take(self, wave: int | None, num_samples: int, events: ctypes._Pointer[_Event]) -> int:
        """Called by espeak-ng with each piece of sound."""
        if wave and num_samples > 0:
            self.sound += ctypes.string_at(wave, 2 * num_samples)
        index = 0
        while (event := events[index]).type:
            if event.type == _WORD:
                self.words.append((event.text_position - 1, len(self.phones)))
            elif event.type == _PHONEME:
                self.phones.append((event.id.string.decode("ascii"), event.sample))
            index += 1
        return 0


class _Espeak:
    """The loaded library."""

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL("libespeak-ng.so.1")
        except OSError as error:
            raise SpeechSynthesisError(
                f"libespeak-ng.so.1: {error}; install the package libespeak-ng1"
            ) from None
        self.rate_hz: int = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        if self.rate_hz <= 0:
            raise SpeechSynthesisError("espeak-ng did not start; install the package espeak-ng-data")
        self._heard = _Heard()
        # The library keeps this pointer for as long as it lives.
        self._callback = _Callback(lambda wave, num, events: self._heard.take(wave, num, events))
        self._lib.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, name: str, rate: float, pitch: float) -> _Heard:
        """Everything espeak-ng says and reports for `text` in voice `name`."""
        if self._lib.espeak_SetVoiceByName(name.encode()) != 0:
            raise SpeechSynthesisError(f"espeak-ng has no voice {name!r}")
        self._lib.espeak_SetParameter(_RATE, round(_NORMAL_WORDS_PER_MINUTE * rate), 0)
        # Its pitch dial is an exponent: 0, 50 and 100 stand for a half, once and twice the voice's own F0.
        self._lib.espeak_SetParameter(_PITCH, min(100, max(0, round(50 + 50 * math.log2(pitch)))), 0)
        self._heard = _Heard()
        encoded = text.encode()
        status = self._lib.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        if status != 0 or not self._heard.phones:
            raise SpeechSynthesisError(f"espeak-ng said nothing for {text!r} (status {status})")
        return self._heard


@cache
def _espeak() -> _Espeak:
    return _Espeak()


def speak(text: str, accent: str, variant: str, rate: float, pitch: float) -> Speech:
    """Say `text` (ASCII) in an accent of `voices_phones.ESPEAK` and a voice variant ("": the plain voice)."""
    engine = _espeak()
    heard = engine.speak(text, f"{accent}+{variant}" if variant else accent, rate, pitch)
    pcm = from_int16(bytes(heard.sound))
    edges_s = [sample / engine.rate_hz for _, sample in heard.phones] + [len(pcm) / engine.rate_hz]
    pieces = [
        split_evenly(to_inventory(mnemonic, ESPEAK[accent], "espeak-ng"), start_s, end_s)
        for (mnemonic, _), start_s, end_s in zip(heard.phones, edges_s[:-1], edges_s[1:], strict=True)
    ]
    return Speech(
        pcm, engine.rate_hz, _words(text, heard.words, pieces), [p for piece in pieces for p in piece]
    )


def _words(text: str, events: list[tuple[int, int]], pieces: list[list[TimedPhone]]) -> list[TimedWord]:
    """Word times from the phones between word events; words spoken as one ("of the") share their stretch."""
    tokens = _tokens(text)
    starts = [start for _, start in tokens]
    phones_of: list[list[TimedPhone]] = [[] for _ in tokens]
    bounds = [number for _, number in events] + [len(pieces)]
    for (position, number), until in zip(events, bounds[1:], strict=True):
        owner = max((i for i, start in enumerate(starts) if start <= position), default=0)
        phones_of[owner] += [p for piece in pieces[number:until] for p in piece if p.phone != SILENCE]
    words: list[TimedWord] = []
    first = 0
    while first < len(tokens):
        last = first + 1
        while last < len(tokens) and not phones_of[last]:
            last += 1
        words += _share([word for word, _ in tokens[first:last]], phones_of[first])
        first = last
    return words


def _share(words: list[str], phones: list[TimedPhone]) -> list[TimedWord]:
    """Spread words over the phones that were spoken for them, by their number of letters."""
    if not phones:
        raise SpeechSynthesisError(f"espeak-ng left out {' '.join(words)!r}")
    start_s, end_s = phones[0].start_s, phones[-1].end_s
    letters = np.cumsum([0] + [len(word) for word in words]) / sum(len(word) for word in words)
    edges_s = start_s + (end_s - start_s) * letters
    return [TimedWord(word, float(edges_s[i]), float(edges_s[i + 1])) for i, word in enumerate(words)]


def _tokens(text: str) -> list[tuple[str, int]]:
    """(plain word, first character) of every word in the text."""
    tokens = []
    start = 0
    for token in text.split(" "):
        if word := plain_word(token):
            tokens.append((word, start))
        start += len(token) + 1
    return tokens
