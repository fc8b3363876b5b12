"""What callers hear while they wait: the operator's file, over and over, or a soft beep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from agent.errors import ConfigError
from telephony.audio import Pcm
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ

MAX_S = 600.0
PEAK = 0.25  # -12 dBFS: under a voice, and no codec clips it
FADE_SAMPLES = SAMPLE_RATE_HZ // 50


def load_music(path: Path) -> Pcm:
    """A WAV or FLAC file as float32 [T] at 24 kHz, mono, its end faded into silence, T of whole frames.

    Raises ConfigError for a file that is no audio, silent, or longer than ten minutes.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            if not 0 < file.frames <= MAX_S * file.samplerate:
                raise ConfigError(f"hold_music {path} must last between 0 and {MAX_S:g} s")
            rate, sound = file.samplerate, file.read(dtype="float32", always_2d=True).mean(axis=1)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"hold_music {path} cannot be read ({type(error).__name__}); give a WAV") from None
    pcm = np.asarray(resample_poly(sound, SAMPLE_RATE_HZ, rate), np.float32)
    peak = float(np.abs(pcm).max())
    if peak < 1e-4:
        raise ConfigError(f"hold_music {path} is silent; leave it unset for a soft beep")
    fade = min(FADE_SAMPLES, len(pcm))
    pcm[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    pcm = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
    return np.asarray(pcm * min(1.0, PEAK / peak), np.float32)


class ComfortTone:
    """A soft beep every two seconds: somebody is still here. Too short for any gate to take it for speech."""

    PERIOD_FRAMES = 25
    HZ = 425.0
    LEVEL = 0.02  # -37 dBFS

    def __init__(self) -> None:
        at = np.arange(FRAME_SAMPLES) / SAMPLE_RATE_HZ
        shape = 0.5 - 0.5 * np.cos(2 * np.pi * at / (FRAME_SAMPLES / SAMPLE_RATE_HZ))
        self._beep = np.asarray(self.LEVEL * shape * np.sin(2 * np.pi * self.HZ * at), np.float32)
        self._frames = 0

    def next(self) -> Pcm:
        """The next 80 ms, float32 [1920]."""
        self._frames += 1
        is_due = self._frames % self.PERIOD_FRAMES == 1
        return self._beep if is_due else np.zeros(FRAME_SAMPLES, np.float32)


class HoldMusic:
    """One caller's place in it."""

    def __init__(self, music: Pcm) -> None:
        """`music`: float32 [T], T of whole frames."""
        self._frames = music.reshape(-1, FRAME_SAMPLES)
        self._at = 0

    def next(self) -> Pcm:
        """The next 80 ms, float32 [1920]."""
        frame = self._frames[self._at % len(self._frames)]
        self._at += 1
        return np.asarray(frame, np.float32)
