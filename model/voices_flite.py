"""flite in this process: speech with exact phone and word times, read from its utterance structure.

The library keeps one global state: call from one thread at a time.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from model.voices_phones import (
    ARPABET,
    Speech,
    SpeechSynthesisError,
    TimedPhone,
    TimedWord,
    from_int16,
    plain_word,
    split_evenly,
    to_inventory,
)

_FIRST_SEGMENT = b"daughter1.R:SylStructure.daughter1.daughter1.R:Segment"
_LAST_SEGMENT = b"daughtern.R:SylStructure.daughtern.daughtern.R:Segment"
_DIPHONE_STRETCH = 1.1  # the diphone voices' own setting; the others speak at 1.0


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _VoiceHead(ctypes.Structure):
    """The first two members of flite's cst_voice."""

    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


def _signatures() -> dict[str, tuple[Any, list[Any]]]:
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    return {
        "flite_synth_text": (pointer, [text, pointer]),
        "utt_wave": (ctypes.POINTER(_Wave), [pointer]),
        "utt_relation": (pointer, [pointer, text]),
        "relation_head": (pointer, [pointer]),
        "item_next": (pointer, [pointer]),
        "item_feat_string": (text, [pointer, text]),
        "ffeature_float": (ctypes.c_float, [pointer, text]),
        "ffeature_string": (text, [pointer, text]),
        "feat_set_float": (None, [pointer, text, ctypes.c_float]),
        "delete_utterance": (None, [pointer]),
    }


@cache
def _flite() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        for name in ("cmulex", "usenglish"):
            ctypes.CDLL(f"libflite_{name}.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise SpeechSynthesisError(f"{error}; install the package libflite1") from None
    for name, (result, arguments) in _signatures().items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.flite_init()
    return lib


@cache
def _voice(speaker: str) -> tuple[int, int]:
    """(address of the voice, address of its features)."""
    _flite()
    try:
        register = getattr(ctypes.CDLL(f"libflite_cmu_us_{speaker}.so.1"), f"register_cmu_us_{speaker}")
    except (OSError, AttributeError) as error:
        raise SpeechSynthesisError(f"flite has no voice {speaker!r}: {error}") from None
    register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    address = register(None)
    return address, _VoiceHead.from_address(address).features


def speak(text: str, speaker: str, rate: float, pitch: float) -> Speech:
    """Say `text` (ASCII) with one of awb, kal, kal16, rms, slt; `pitch` scales F0 (no effect on rms)."""
    lib = _flite()
    voice, features = _voice(speaker)
    own_stretch = _DIPHONE_STRETCH if speaker.startswith("kal") else 1.0
    lib.feat_set_float(features, b"duration_stretch", own_stretch / rate)
    lib.feat_set_float(features, b"f0_shift", pitch)
    utterance = lib.flite_synth_text(text.encode(), voice)
    if not utterance:
        raise SpeechSynthesisError(f"flite {speaker} said nothing for {text!r}")
    try:
        wave = lib.utt_wave(utterance).contents
        pcm = from_int16(ctypes.string_at(wave.samples, 2 * wave.num_samples))
        phones, words = _segments(lib, utterance), _words(lib, utterance, text)
        return Speech(pcm, wave.sample_rate, words, phones)
    finally:
        lib.delete_utterance(utterance)


def _items(lib: ctypes.CDLL, utterance: int, relation: bytes) -> list[int]:
    item = lib.relation_head(lib.utt_relation(utterance, relation))
    items = []
    while item:
        items.append(item)
        item = lib.item_next(item)
    return items


def _segments(lib: ctypes.CDLL, utterance: int) -> list[TimedPhone]:
    phones: list[TimedPhone] = []
    start_s = 0.0
    for item in _items(lib, utterance, b"Segment"):
        end_s = lib.ffeature_float(item, b"end")
        symbol = lib.item_feat_string(item, b"name").decode()
        phones += split_evenly(to_inventory(symbol, ARPABET, "flite"), start_s, end_s)
        start_s = end_s
    return phones


def _words(lib: ctypes.CDLL, utterance: int, text: str) -> list[TimedWord]:
    tokens = [word for token in text.split(" ") if (word := plain_word(token))]
    spoken = [
        i
        for i in _items(lib, utterance, b"Token")
        if lib.ffeature_string(i, _LAST_SEGMENT + b".name") != b"0"
    ]
    if len(spoken) != len(tokens):
        raise SpeechSynthesisError(f"flite spoke {len(spoken)} of the {len(tokens)} words in {text!r}")
    return [
        TimedWord(
            word,
            lib.ffeature_float(item, _FIRST_SEGMENT + b".p.end"),
            lib.ffeature_float(item, _LAST_SEGMENT + b".end"),
        )
        for word, item in zip(tokens, spoken, strict=True)
    ]
