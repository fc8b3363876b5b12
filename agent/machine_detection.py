"""Who took a call of ours, a person or an answering machine: from energy, cadence and the beep. No I/O here.

People say a word or two and wait for an answer; machines talk on, or beep. So

    MACHINE     a steady pure tone (the beep, a fax, the network's information tones), or a greeting that
                goes on, its pauses shorter than `pause_s`, for `greeting_s`
    HUMAN       speech of at most `hello_s` in all, then `pause_s` of silence
    UNCERTAIN   neither: nobody spoke for `silence_s`, or the utterance was of a length that both have

Nothing here knows words: a person who answers at length is UNCERTAIN or MACHINE, a machine whose greeting is
"Hello." is HUMAN until it beeps, so that a call is hung up on only where MACHINE is wanted less than a person
is wronged. After the verdict the detector goes on to listen for the beep: that is when a message may begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from agent import metrics
from agent.energy_gate import Edge, EnergyGate, GateConfig
from telephony.audio import Pcm, dbfs
from telephony.endpoint import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 960  # 40 ms: bins of 25 Hz
BIN_HZ = SAMPLE_RATE_HZ / WINDOW_SAMPLES
BEEP_LOW_HZ, BEEP_HIGH_HZ = 380.0, 2400.0  # a hum of a voice is below; nothing above passes a telephone well
BAND_LOW_HZ, BAND_HIGH_HZ = 150.0, 3600.0
PEAK_BINS = 2  # on either side of the greatest: the window's main lobe
LEAST_PURITY = 0.93  # of the band's power in the peak; of voiced speech it is 0.2 to 0.8
DRIFT_HZ = 30.0
LEAST_BEEP_DBFS = -40.0


class Answerer(StrEnum):
    """Who took the call; the label `result` of `offhook_answerers_total`."""

    HUMAN = "human"
    MACHINE = "machine"
    UNCERTAIN = "uncertain"


for _result in Answerer:  # a counter that appears with its first event hides it from rate()
    metrics.ANSWERERS.labels(_result.value)


@dataclass(frozen=True, slots=True)
class DetectionRules:
    """Where the lines are drawn, in seconds of the callee's channel from the answer."""

    hello_s: float = 1.9
    pause_s: float = 0.7
    greeting_s: float = 3.2
    silence_s: float = 4.5
    limit_s: float = 10.0  # by then it is UNCERTAIN
    beep_s: float = 0.2


class ToneWatch:
    """Finds a steady pure tone; push samples of any count."""

    def __init__(self, least_s: float) -> None:
        self._least = max(2, round(least_s / (WINDOW_SAMPLES / SAMPLE_RATE_HZ)))
        self._window = np.hanning(WINDOW_SAMPLES)
        self._rest = np.zeros(0, np.float32)
        self._run, self._hz = 0, 0.0

    @property
    def is_sounding(self) -> bool:
        """Whether a tone that has lasted long enough sounds now."""
        return self._run >= self._least

    def push(self, pcm: Pcm) -> bool:
        """Take float32 [T] at 24 kHz; whether a tone has come to its full length in it."""
        joined = np.concatenate([self._rest, pcm])
        whole = len(joined) // WINDOW_SAMPLES * WINDOW_SAMPLES
        self._rest = joined[whole:]
        is_found = False
        for block in joined[:whole].reshape(-1, WINDOW_SAMPLES):
            hz = self._tone_hz(block)
            is_same = hz is not None and (not self._run or abs(hz - self._hz) <= DRIFT_HZ)
            self._run = self._run + 1 if is_same else int(hz is not None)
            self._hz = hz or 0.0
            is_found = is_found or self._run == self._least
        return is_found

    def _tone_hz(self, block: Pcm) -> float | None:
        """The frequency of a block that is one tone, else None."""
        if dbfs(block) < LEAST_BEEP_DBFS:
            return None
        power = np.square(np.abs(np.fft.rfft(block * self._window)))
        low, high = round(BAND_LOW_HZ / BIN_HZ), round(BAND_HIGH_HZ / BIN_HZ)
        peak = low + int(np.argmax(power[low:high]))
        hz = peak * BIN_HZ
        near = float(power[peak - PEAK_BINS : peak + PEAK_BINS + 1].sum())
        is_pure = near >= LEAST_PURITY * float(power[low:high].sum())
        return hz if is_pure and BEEP_LOW_HZ <= hz <= BEEP_HIGH_HZ else None


class MachineDetector:
    """One call's callee, from the answer on; push their channel, 24 kHz."""

    def __init__(self, rules: DetectionRules | None = None) -> None:
        self.rules = rules or DetectionRules()
        self.verdict: Answerer | None = None
        self.has_beeped = False  # a beep began and has ended: a message may begin
        self._gate = EnergyGate(GateConfig())
        self._tones = ToneWatch(self.rules.beep_s)
        self._num_samples = 0
        self._spoken_s = 0.0  # in utterances that are over
        self._speaking_since_s: float | None = None
        self._silent_since_s = 0.0
        self._greeting_since_s: float | None = None
        self._is_beeping = False

    def push(self, pcm: Pcm) -> Answerer | None:
        """Take the next samples, float32 [T]; the verdict, once, when it falls."""
        self._num_samples += len(pcm)
        if self._tones.push(pcm):
            self._is_beeping = True
        elif self._is_beeping and not self._tones.is_sounding:
            self._is_beeping, self.has_beeped = False, True
        for event in self._gate.push(pcm):
            self._note(event.edge, event.at_s)
        if self.verdict is not None:
            return None
        self.verdict = self._judge(self._num_samples / SAMPLE_RATE_HZ)
        return self.verdict

    def _note(self, edge: Edge, at_s: float) -> None:
        if edge is Edge.ONSET:
            if self._greeting_since_s is None or at_s - self._silent_since_s >= self.rules.pause_s:
                self._greeting_since_s = at_s
            self._speaking_since_s = at_s
        elif self._speaking_since_s is not None:
            self._spoken_s += at_s - self._speaking_since_s
            self._speaking_since_s, self._silent_since_s = None, at_s

    def _judge(self, now_s: float) -> Answerer | None:
        rules = self.rules
        if self._is_beeping or self.has_beeped:
            return Answerer.MACHINE
        if self._speaking_since_s is not None and self._greeting_since_s is not None:
            if now_s - self._greeting_since_s >= rules.greeting_s:
                return Answerer.MACHINE
        elif self._spoken_s > 0 and now_s - self._silent_since_s >= rules.pause_s:
            return Answerer.HUMAN if self._spoken_s <= rules.hello_s else Answerer.UNCERTAIN
        elif not self._spoken_s and now_s >= rules.silence_s:
            return Answerer.UNCERTAIN
        return Answerer.UNCERTAIN if now_s >= rules.limit_s else None
