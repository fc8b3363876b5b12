"""How a sentence is said: calm, hurried, angry, whispered. Made of any synthesiser's speech, after it.

Every style goes through the same pitch-synchronous overlap-add, the calm one too, so that traces of the
method tell nothing about the tone. All of it is synthetic: rules for what studies of hurried, angry and
whispered speech describe, not recordings of such people.

Source of the method: TD-PSOLA (Moulines and Charpentier, Speech Communication 9, 1990).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.signal import istft, stft

from model.channel import active_rms
from model.pitch_marks import HOP_S, UNVOICED_SPACING_S, mark, track_f0
from model.voices_phones import SILENCE, TimedPhone, TimedWord

Pcm = NDArray[np.float32]
Floats = NDArray[np.float64]

_PHRASE_PAUSE_S = 0.12  # a silence as long as this ends a phrase
_SHORTEST_PAUSE_S = 0.05
_FINAL_S = 0.35  # of a phrase, where a speaker who has time falls and slows down
_KNEE, _CEILING = 0.7, 0.98
_TILT_FROM_HZ, _TILT_TO_HZ = 700.0, 2800.0
_ENVELOPE_S = 0.0012  # quefrencies below this are the vocal tract's
_WHISPER_BASS_HZ = 500.0  # a whisper has little below this


class Style(Enum):
    """A caller's tone."""

    CALM = "calm"
    HURRIED = "hurried"
    ANGRY = "angry"
    WHISPER = "whisper"


@dataclass(frozen=True, slots=True)
class Spoken:
    """Speech with its truth: float32 [T], times in seconds from the first sample."""

    pcm: Pcm
    words: list[TimedWord]
    phones: list[TimedPhone]


@dataclass(frozen=True, slots=True)
class _Manner:
    """What one sentence is changed by; drawn anew for each."""

    tempo: float  # > 1 is faster
    pause: float  # what is left of a pause inside the sentence
    final_tempo: float  # of a phrase's end, on top
    register: float  # of the middle F0
    span: float  # exponent of F0 about its middle
    final_rise: float  # of F0 at a phrase's end, in octaves; keeps a fall from happening where above 0
    tilt_db: float  # added above the tilt's upper corner
    attack: float  # how much a word's rise in loudness is sharpened


def _draw(style: Style, draws: np.random.Generator) -> _Manner:
    """Tempo and register overlap widely between styles, so that neither gives a style away."""
    spread = draws.uniform
    tempo, register = float(spread(0.86, 1.16)), float(spread(0.92, 1.1))
    if style is Style.HURRIED:
        return _Manner(
            tempo * float(spread(1.0, 1.08)), float(spread(0.2, 0.4)), float(spread(1.25, 1.5)), register,
            float(spread(0.6, 0.8)), float(spread(0.15, 0.35)), float(spread(-1, 2)), 0.0,
        )  # fmt: skip
    if style is Style.ANGRY:
        return _Manner(
            tempo, float(spread(0.7, 1.1)), float(spread(0.95, 1.1)), register * float(spread(1.02, 1.1)),
            float(spread(1.7, 2.3)), float(spread(-0.4, -0.1)), float(spread(7, 12)), float(spread(0.6, 1.0)),
        )  # fmt: skip
    return _Manner(
        tempo, float(spread(0.85, 1.15)), float(spread(0.9, 1.05)), register,
        float(spread(0.85, 1.15)), float(spread(-0.15, 0.0)), float(spread(-1.5, 1.5)), 0.0,
    )  # fmt: skip


def restyle(said: Spoken, rate_hz: int, style: Style, draws: np.random.Generator) -> Spoken:
    """The same words said in a style; active level as before, times follow the sound.

    The words' order, number and texts stay. Each call draws other shades of the style.
    """
    manner = _draw(style, draws)
    level = active_rms(said.pcm, rate_hz)
    warp = _Warp(_tempo_knots(said, len(said.pcm) / rate_hz, manner))
    f0 = track_f0(said.pcm, rate_hz, said.phones)
    wanted = _contour(f0, said, manner)
    pcm = _overlap_add(said.pcm, rate_hz, f0, wanted, warp)
    words = [TimedWord(w.text, warp(w.start_s), warp(w.end_s)) for w in said.words]
    phones = [TimedPhone(p.phone, warp(p.start_s), warp(p.end_s)) for p in said.phones]
    if style is Style.WHISPER:
        pcm = _whispered(pcm, rate_hz, draws)
    else:
        pcm = _tilted(_attacked(pcm, rate_hz, words, manner.attack), rate_hz, manner.tilt_db)
    now = active_rms(pcm, rate_hz)
    return Spoken(_rounded(pcm * np.float32(level / max(now, 1e-9))), words, phones)


def _rounded(pcm: Pcm) -> Pcm:
    """Peaks beyond the knee are bent so that none reaches full scale."""
    over = np.maximum(np.abs(pcm) - _KNEE, 0)
    bent = _KNEE + (_CEILING - _KNEE) * np.tanh(over / (_CEILING - _KNEE))
    return np.asarray(np.where(over > 0, np.sign(pcm) * bent, pcm), np.float32)


class _Warp:
    """Time in the speech as it was -> time in the speech as it will be; piecewise linear, rising."""

    def __init__(self, knots: list[tuple[float, float]]) -> None:
        """`knots` are (end in s, tempo) of consecutive stretches."""
        ends = np.array([0.0] + [end for end, _ in knots])
        lengths = np.diff(ends) / np.array([tempo for _, tempo in knots])
        self.before_s, self.after_s = ends, np.concatenate([[0.0], np.cumsum(lengths)])

    def __call__(self, time_s: float) -> float:
        return float(np.interp(time_s, self.before_s, self.after_s))

    def back(self, times_s: Floats) -> Floats:
        """The moments that these came from."""
        return np.asarray(np.interp(times_s, self.after_s, self.before_s), np.float64)


def _phrase_ends(said: Spoken) -> list[float]:
    """Moments in s at which a phrase's last phone ends."""
    last_s = said.words[-1].end_s
    pauses = [p for p in said.phones if p.phone == SILENCE and p.end_s - p.start_s >= _PHRASE_PAUSE_S]
    inside = [p.start_s for p in pauses if said.words[0].start_s < p.start_s < last_s - 0.02]
    return [*inside, last_s]


def _tempo_knots(said: Spoken, duration_s: float, manner: _Manner) -> list[tuple[float, float]]:
    """Consecutive stretches with one tempo each, from the first sample to the last."""
    first_s, last_s = said.words[0].start_s, said.words[-1].end_s
    ends = _phrase_ends(said)
    edges = {0.0, first_s, last_s, duration_s} | {max(first_s, end - _FINAL_S) for end in ends} | set(ends)
    pauses = [p for p in said.phones if p.phone == SILENCE and first_s < p.start_s and p.end_s < last_s]
    edges |= {edge for p in pauses for edge in (p.start_s, p.end_s)}
    knots: list[tuple[float, float]] = []
    times = sorted(edge for edge in edges if 0 <= edge <= duration_s)
    for start_s, end_s in pairwise(times):
        middle = (start_s + end_s) / 2
        if end_s - start_s < 1e-6:
            continue
        if not first_s < middle < last_s:
            tempo = 1.0
        elif pause := next((p for p in pauses if p.start_s <= middle < p.end_s), None):
            wanted_s = max(_SHORTEST_PAUSE_S, manner.pause * (pause.end_s - pause.start_s))
            tempo = max(1e-3, (pause.end_s - pause.start_s) / wanted_s)
        else:
            is_final = any(end - _FINAL_S <= middle <= end for end in ends)
            tempo = manner.tempo * (manner.final_tempo if is_final else 1.0)
        knots.append((end_s, tempo))
    return knots


def _contour(f0: Floats, said: Spoken, manner: _Manner) -> Floats:
    """The F0 that is wanted at each step of the speech as it was: float64 [T] in Hz, 0 without voice."""
    heard = f0[f0 > 0]
    if not len(heard):
        return f0
    middle = float(np.median(heard))
    octaves = np.log2(np.where(f0 > 0, f0, middle) / middle) * manner.span
    times_s = np.arange(len(f0)) * HOP_S
    for end_s in _phrase_ends(said):
        near = np.clip(1 - (end_s - times_s) / _FINAL_S, 0, 1) * (times_s <= end_s + HOP_S)
        if manner.final_rise > 0:  # no lowering: the end stays at the middle or above
            octaves = np.where(near > 0, np.maximum(octaves, 0.0), octaves)
        octaves = octaves + manner.final_rise * near
    wanted = middle * manner.register * 2 ** np.clip(octaves, -0.9, 0.9)
    return np.where(f0 > 0, wanted, 0.0)


def _overlap_add(pcm: Pcm, rate_hz: int, f0: Floats, wanted: Floats, warp: _Warp) -> Pcm:
    """Grains of two periods around the marks, put down again at new moments and spacings: float32 [T']."""
    marks = mark(pcm, rate_hz, f0)
    spans = np.diff(marks, append=marks[-1] + round(UNVOICED_SPACING_S * rate_hz))
    length = round(warp.after_s[-1] * rate_hz)
    out, weight = np.zeros(length, np.float64), np.zeros(length, np.float64)
    at = 0.0
    while at < length:
        moment = float(warp.back(np.array([at / rate_hz]))[0]) * rate_hz
        nearest = int(np.searchsorted(marks, moment))
        if nearest and (nearest == len(marks) or moment - marks[nearest - 1] <= marks[nearest] - moment):
            nearest -= 1
        half = int(spans[nearest])
        _put(out, weight, pcm, int(marks[nearest]), round(at), half)
        here = wanted[min(round(moment / rate_hz / HOP_S), len(wanted) - 1)]
        at += rate_hz / here if here > 0 else UNVOICED_SPACING_S * rate_hz
    return np.asarray(out / np.maximum(weight, 0.35), np.float32)


def _put(out: Floats, weight: Floats, pcm: Pcm, source: int, target: int, half: int) -> None:
    """Add one grain of `half` samples each way."""
    first = -min(half, source, target)
    last = min(half, len(pcm) - source, len(out) - target)
    if last <= first:
        return
    window = 0.5 + 0.5 * np.cos(np.pi * np.arange(first, last) / max(1, half))
    out[target + first : target + last] += window * pcm[source + first : source + last]
    weight[target + first : target + last] += window


def _tilted(pcm: Pcm, rate_hz: int, tilt_db: float) -> Pcm:
    """Brighter by so many dB above the corner, in the whole sentence: the tension of a voice."""
    spectrum = np.fft.rfft(pcm)
    hz = np.fft.rfftfreq(len(pcm), 1 / rate_hz)
    octave = np.log2(np.maximum(hz, 1.0) / _TILT_FROM_HZ) / np.log2(_TILT_TO_HZ / _TILT_FROM_HZ)
    gain = 10 ** (tilt_db * np.clip(octave, 0, 1) / 20)
    return np.asarray(np.fft.irfft(spectrum * gain, len(pcm)), np.float32)


def _attacked(pcm: Pcm, rate_hz: int, words: list[TimedWord], amount: float) -> Pcm:
    """Words that begin harder: louder in their first 60 ms, softer towards their end."""
    if not amount:
        return pcm
    times_s = np.arange(len(pcm)) / rate_hz
    gain_db = np.zeros(len(pcm))
    for word in words:
        length_s = max(0.05, word.end_s - word.start_s)
        inside = (times_s >= word.start_s) & (times_s < word.end_s)
        place = (times_s[inside] - word.start_s) / length_s
        gain_db[inside] += amount * (6 * np.exp(-place * length_s / 0.06) - 4 * np.maximum(0, place - 0.5))
    return np.asarray(pcm * 10 ** (gain_db / 20), np.float32)


def _whispered(pcm: Pcm, rate_hz: int, draws: np.random.Generator) -> Pcm:
    """Noise through the same vocal tract: the short-time envelope stays, the voice goes. float32 [T]."""
    size, hop = round(0.024 * rate_hz), round(0.006 * rate_hz)
    _, _, spectrum = stft(pcm, rate_hz, nperseg=size, noverlap=size - hop)
    cepstrum = np.fft.irfft(np.log(np.abs(spectrum) + 1e-7), axis=0)
    kept = round(_ENVELOPE_S * rate_hz)
    cepstrum[kept : len(cepstrum) - kept + 1] = 0
    envelope = np.exp(np.fft.rfft(cepstrum, axis=0).real)
    noise = draws.standard_normal(len(pcm))
    _, _, breath = stft(noise, rate_hz, nperseg=size, noverlap=size - hop)
    hz = np.fft.rfftfreq(size, 1 / rate_hz)[:, None]
    bass = 1 / (1 + (_WHISPER_BASS_HZ / np.maximum(hz, 1.0)) ** 2)
    _, sound = istft(breath * envelope * bass, rate_hz, nperseg=size, noverlap=size - hop)
    return np.asarray(np.pad(sound, (0, max(0, len(pcm) - len(sound))))[: len(pcm)], np.float32)
