"""Streaming change of sample rate between the telephone's clocks and the model's 24 kHz. No I/O here."""

from functools import lru_cache
from math import gcd, lcm

import numpy as np
from scipy.signal import firwin, upfirdn

from telephony.audio import Pcm
from telephony.errors import SettingsError

RATES_HZ = (8_000, 16_000, 24_000, 48_000)
WAIT_S = 0.002  # how long a sample waits in the filter: half its length
_STOPBAND_DB = 86.0


class StreamResampler:
    """Change a mono stream's rate; filter history carries over, so chunk size never shows.

    A polyphase FIR of 4 ms (linear phase, so everything waits WAIT_S alike). After n samples in,
    exactly ceil(n * out_rate / in_rate) have come out.
    """

    def __init__(self, in_rate_hz: int, out_rate_hz: int) -> None:
        for rate_hz in (in_rate_hz, out_rate_hz):
            if rate_hz not in RATES_HZ:
                raise SettingsError(f"cannot resample {rate_hz} Hz; choose from {RATES_HZ}")
        divisor = gcd(in_rate_hz, out_rate_hz)
        self._up, self._down = out_rate_hz // divisor, in_rate_hz // divisor
        self._taps = _low_pass(
            in_rate_hz, out_rate_hz
        )  # float32 [taps], at the common multiple of both rates
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next chunk is the first of a stream."""
        self._past = np.zeros(len(self._taps) // self._up + self._down, np.float32)
        self._next = 0  # the next output's place after the coming chunk's start, in 1/up of an input sample

    def push(self, pcm: Pcm) -> Pcm:
        """Convert the next chunk: float32 [T_in] -> float32 [T_in * out_rate / in_rate]."""
        span = len(pcm) * self._up
        count = max(0, -((self._next - span) // self._down))
        if not count:  # too short to hold an output's place
            self._remember(pcm, span)
            return np.zeros(0, np.float32)
        # upfirdn puts an output on its first sample, so skip history until the next one falls on its grid
        place = len(self._past) * self._up + self._next
        skip = place * pow(self._up, -1, self._down) % self._down
        first = (place - skip * self._up) // self._down
        y = upfirdn(self._taps, np.concatenate([self._past[skip:], pcm]), self._up, self._down)
        self._next += count * self._down
        self._remember(pcm, span)
        out: Pcm = y[first : first + count]
        return out

    def _remember(self, pcm: Pcm, span: int) -> None:
        self._past = np.concatenate([self._past, pcm])[-len(self._past) :]
        self._next -= span


@lru_cache(maxsize=16)
def _low_pass(in_rate_hz: int, out_rate_hz: int) -> Pcm:
    """A Kaiser-windowed low-pass whose edge is the slower clock's Nyquist frequency; float32 [taps]."""
    rate_hz = lcm(in_rate_hz, out_rate_hz)
    length = 2 * round(WAIT_S * rate_hz) + 1
    beta = 0.1102 * (_STOPBAND_DB - 8.7)  # Kaiser's rule above 50 dB
    taps = firwin(length, min(in_rate_hz, out_rate_hz) / 2, window=("kaiser", beta), fs=rate_hz)
    gain = rate_hz // in_rate_hz  # makes up for the zeros that raising the rate puts between samples
    return (taps * gain).astype(np.float32)
