"""Digits as sound: all of them, short, soft, twisted and noisy; none in tones, noise or speech-like sound."""

import numpy as np
import pytest

from telephony.dtmf_inband import COLUMNS_HZ, DIGITS, ROWS_HZ, SAMPLE_RATE_HZ, InbandDigits
from tests.signals import Pcm, tone

ALL = "0123456789*#ABCD"


def digit_tones(digits: str, tone_s: float = 0.1, pause_s: float = 0.1, level: float = 0.25) -> Pcm:
    """float32 [T] at 24 kHz: these digits as sound, each tone at `level`, with 2 ms flanks."""
    time_s = np.arange(round(tone_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    flank = np.clip(np.minimum(time_s, tone_s - time_s) / 0.002, 0, 1)
    pause = np.zeros(round(pause_s * SAMPLE_RATE_HZ))
    parts = []
    for digit in digits:
        row = next(number for number, letters in enumerate(DIGITS) if digit in letters)
        pair = (ROWS_HZ[row], COLUMNS_HZ[DIGITS[row].index(digit)])
        parts += [sum(np.sin(2 * np.pi * hz * time_s) for hz in pair) * level * flank, pause]
    return np.concatenate(parts).astype(np.float32)


def heard(pcm: Pcm, chunk: int = 1920) -> str:
    digits = InbandDigits()
    return "".join(digits.push(pcm[place : place + chunk]) for place in range(0, len(pcm), chunk))


def pair(low: float, high: float, seconds: float = 0.1, twist_db: float = 0.0) -> Pcm:
    gain = 10 ** (twist_db / 20)
    made = tone(low, seconds, SAMPLE_RATE_HZ, 0.2) + gain * tone(high, seconds, SAMPLE_RATE_HZ, 0.2)
    return np.pad(made.astype(np.float32), 2400)


@pytest.mark.parametrize("chunk", [1, 100, 1920, 10**6])
def test_every_digit_is_heard_once_whatever_the_chunks(chunk: int) -> None:
    digits = ALL if chunk > 1 else "5"
    assert heard(digit_tones(digits), chunk) == digits


def test_short_soft_doubled_and_noisy_digits_are_heard() -> None:
    assert heard(digit_tones("159D", tone_s=0.045, pause_s=0.045)) == "159D"
    assert heard(digit_tones("7", level=0.025)) == "7"
    assert heard(digit_tones("11#", pause_s=0.05)) == "11#"
    assert heard(digit_tones("8", tone_s=2.0)) == "8"
    noise = np.random.default_rng(1).standard_normal(80_000).astype(np.float32)
    sound = digit_tones(ALL[:8])
    assert heard(sound + 0.02 * noise[: len(sound)]) == ALL[:8]


def test_twist_and_drift_within_the_recommendation_count_and_beyond_it_do_not() -> None:
    assert heard(pair(697 * 1.015, 1209 * 0.985)) == "1"
    assert heard(pair(697, 1209, twist_db=-4)) == heard(pair(697, 1209, twist_db=4)) == "1"
    assert heard(pair(697, 1209, twist_db=12)) == heard(pair(697, 1209, twist_db=-12)) == ""
    assert heard(pair(697, 1209, seconds=0.02)) == "", "too short to be meant"


def test_tones_noise_and_voices_are_no_digits() -> None:
    rng = np.random.default_rng(2)
    assert heard(0.2 * rng.standard_normal(240_000).astype(np.float32)) == ""
    for hz in (440, 697, 1004, 1209, 2100):
        assert heard(tone(hz, 1.0, SAMPLE_RATE_HZ, 0.5).astype(np.float32)) == ""
    time_s = np.arange(240_000) / SAMPLE_RATE_HZ
    pitch = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * 0.7 * time_s)) / SAMPLE_RATE_HZ
    voice = sum(np.sin(k * pitch) / k for k in range(1, 25)) * 0.1
    assert heard(np.asarray(voice, np.float32)) == ""
    chord = sum(tone(hz, 1.0, SAMPLE_RATE_HZ, 0.2) for hz in (697, 1209, 1700))
    assert heard(np.asarray(chord, np.float32)) == ""
