"""The cascade's hearing: voice activity, words as they come, and the moment at which a caller's turn is over.

A silence ends the turn; how long it must last depends on the words: less after a whole request, more where
the caller is plainly in the middle of a sentence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.cascade.grammar import is_complete, is_open
from agent.cascade.noise import NoiseFilter
from agent.cascade.recogniser import GrammarRecogniser, Keeper, Recogniser
from agent.cascade.voice_activity import CHUNK_S, CHUNK_SAMPLES, RATE_HZ, VoiceActivity
from agent.settings import CascadeSettings
from telephony.endpoint import SAMPLE_RATE_HZ
from telephony.resample import StreamResampler

SPEAKS, SILENT = 0.5, 0.35  # probabilities; between them what was goes on
ONSET_CHUNKS = 2  # of speech in a row: a click is shorter
PRE_ROLL_CHUNKS = 10  # before that, for the recogniser: soft first sounds
LEAST_SPEECH_S = 0.1  # less is no turn

NO_SOUND = np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a caller said: words, or for a recogniser elsewhere the sound, int16 [T] at 16 kHz."""

    words: str
    pcm: NDArray[np.int16]
    speech_s: float
    silence_s: float  # how long the caller has been silent when this was decided


@dataclass(frozen=True, slots=True)
class Heard:
    """What one frame told: how long the caller has been speaking (0: not), and the turn that it ended."""

    speech_s: float
    turn: Turn | None = None


class Ear:
    """One caller's. Frames in order; not thread-safe."""

    def __init__(self, settings: CascadeSettings) -> None:
        self._settings = settings
        self._keeper = Keeper() if settings.stt_url else None
        self.recogniser: Recogniser = self._keeper or GrammarRecogniser(
            least_confidence=settings.least_confidence
        )
        self.reset()

    def reset(self) -> None:
        """Another call begins."""
        self._activity = VoiceActivity()
        self._filter = NoiseFilter() if self._settings.noise_filter else None
        self._resampler = StreamResampler(SAMPLE_RATE_HZ, RATE_HZ)
        self._rest = np.zeros(0, np.float32)
        self._recent: deque[NDArray[np.float32]] = deque(maxlen=PRE_ROLL_CHUNKS)
        self._num_onset = 0
        self._is_open = False
        self._speech_s = self._silence_s = 0.0  # of this turn; since its last speech

    def hear(self, pcm: NDArray[np.float32]) -> Heard:
        """Take a frame, float32 [1920] at 24 kHz."""
        sound = np.concatenate([self._rest, self._resampler.push(pcm)])
        whole = len(sound) // CHUNK_SAMPLES * CHUNK_SAMPLES
        self._rest = sound[whole:]
        turn: Turn | None = None
        for chunk in sound[:whole].reshape(-1, CHUNK_SAMPLES):
            (probability,) = self._activity.push(chunk)
            if self._filter is not None:
                chunk = self._filter.push(chunk, is_silent=not self._is_open and probability < SILENT)
            self._follow(chunk, probability)
            turn = self._ended() or turn
        return Heard(self._speech_s if self._is_open else 0.0, turn)

    def _follow(self, chunk: NDArray[np.float32], probability: float) -> None:
        if not self._is_open:
            self._recent.append(chunk)
            self._num_onset = self._num_onset + 1 if probability > SPEAKS else 0
            if self._num_onset >= ONSET_CHUNKS:
                self._begin()
            return
        self.recogniser.push(chunk)
        if probability > SPEAKS or (probability > SILENT and not self._silence_s):
            self._speech_s += CHUNK_S
            self._silence_s = 0.0
        else:
            self._silence_s += CHUNK_S

    def _begin(self) -> None:
        self._is_open = True
        self._speech_s, self._silence_s = self._num_onset * CHUNK_S, 0.0
        self._num_onset = 0
        self.recogniser.begin()
        self.recogniser.push(np.concatenate(self._recent))
        self._recent.clear()

    def _ended(self) -> Turn | None:
        """The turn, if the caller's silence has ended it just now."""
        if not self._is_open or self._silence_s < self._hold_s():
            return None
        words = self.recogniser.end()
        self._is_open = False
        if self._speech_s < LEAST_SPEECH_S:
            return None
        pcm = NO_SOUND
        if self._keeper is not None:
            pcm = (np.clip(self._keeper.pcm, -1, 1) * 32_767).astype(np.int16)
        return Turn(words, pcm, self._speech_s, self._silence_s)

    def _hold_s(self) -> float:
        """How long a silence must last now; the words are looked at only when that can matter."""
        own = self._settings
        if self._silence_s < min(own.hold_s, own.hold_complete_s):
            return own.hold_open_s + own.hold_s
        words = self.recogniser.partial()
        if is_open(words):
            return own.hold_open_s
        return own.hold_complete_s if is_complete(words) else own.hold_s
