"""What a caller's end sends without wanting the floor, and what surrounds a caller; seeded, not trained on.

Rooms are of the pool's numbers that training never draws; other people's speech is of held-out voices, or of
recordings where the user gives some. Levels are relative to the caller's own speech in the telephone's band.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import oaconvolve

from agent.energy_gate import Pcm
from model.channel import Line, active_rms, band, resample
from model.conditions import BACKGROUND_SPEECH_DB, NUM_ROOMS, SIDE_TALK_DB, background_speech, side_talk
from model.echo import Echo, echo_of
from model.music import STYLES, music
from model.noise import SoundPool, cough, lasting, steady, throat_clearing, unit_rms
from model.order_line import GREETING
from model.phrasings import BACKCHANNELS
from model.voices import AGENT_VOICE, HELD_OUT_VOICES, SAMPLE_RATE_HZ, Voice, draw_voice, synthesize
from telephony.endpoint import FRAME_SAMPLES

OVER_SOUNDS = ("backchannel", "cough", "side_talk", "background", "music")
NOISES = ("pink", "murmur", "rumble", "white")
COUGH_DB = (-6.0, 6.0)
MUSIC_DB = (-18.0, -10.0)
LASTS_S = (1.5, 3.0)  # voices and music in the room
ROOM_SHARE = 0.6  # of callers; the others speak into a handset
NUM_HELD_OUT_ROOMS = 64
SIDE_TALK = (
    "can you put the plates on the table", "I am on the phone right now", "did you feed the cat this morning",
    "no leave it there I will do it later", "the keys are in the blue bag", "tell her I will be home",
    "where did you put the remote", "we need to leave in ten minutes", "your brother called again yesterday",
    "turn that off please it is too loud",
)  # fmt: skip
_LINE_RATE_HZ = 8_000
_RESPONSE_S = 1.2  # what is kept of an echo's path


def line_rms(pcm: Pcm) -> float:
    """RMS of the active speech of float32 [T] at 24 kHz, within the telephone's band."""
    return active_rms(band(resample(pcm, SAMPLE_RATE_HZ, _LINE_RATE_HZ), Line()), _LINE_RATE_HZ)


def at_level(pcm: Pcm, level_dbfs: float) -> Pcm:
    """Its active speech brought to a level within the telephone's band."""
    rms = line_rms(pcm)
    return np.clip(pcm * np.float32(10 ** (level_dbfs / 20) / rms), -1, 1) if rms > 0 else pcm


def draw_room(draws: np.random.Generator) -> int | None:
    """A room that no training run has heard, or none."""
    if draws.random() >= ROOM_SHARE:
        return None
    return NUM_ROOMS + int(draws.integers(NUM_HELD_OUT_ROOMS))


def make_sound(
    sound: str, voice: Voice, level_dbfs: float, draws: np.random.Generator, pool: SoundPool | None = None
) -> tuple[Pcm, float, float]:
    """A sound of `OVER_SOUNDS` from the end of a caller who speaks at a level, float32 [T] at 24 kHz.

    Also from when to when in it something is to be heard, in seconds.
    """
    if sound == "backchannel":
        said = synthesize(BACKCHANNELS[int(draws.integers(len(BACKCHANNELS)))], voice)
        return at_level(said.pcm, level_dbfs), said.words[0].start_s, said.words[-1].end_s
    if sound == "cough":
        made = (cough if draws.random() < 0.6 else throat_clearing)(SAMPLE_RATE_HZ, draws)
        pcm = at_level(made, level_dbfs + float(draws.uniform(*COUGH_DB)))
    elif sound == "music":
        style = STYLES[int(draws.integers(len(STYLES)))]
        made = music(style, _draw_length(draws), SAMPLE_RATE_HZ, draws)
        pcm = at_level(made, level_dbfs + float(draws.uniform(*MUSIC_DB)))
    else:
        far, level_db = (
            (side_talk, SIDE_TALK_DB) if sound == "side_talk" else (background_speech, BACKGROUND_SPEECH_DB)
        )
        pcm = at_level(far(_others_speech(voice, draws, pool)), level_dbfs + level_db)
    return pcm, 0.0, len(pcm) / SAMPLE_RATE_HZ


def _draw_length(draws: np.random.Generator) -> int:
    return round(float(draws.uniform(*LASTS_S)) * SAMPLE_RATE_HZ)


def _others_speech(voice: Voice, draws: np.random.Generator, pool: SoundPool | None) -> Pcm:
    """Somebody else than the caller, for a second or more."""
    if pool is not None and pool.speech:
        return lasting(pool.speech, _draw_length(draws), draws)
    other = voice
    while other.name == voice.name:
        other = draw_voice(draws, HELD_OUT_VOICES)
    said = synthesize(SIDE_TALK[int(draws.integers(len(SIDE_TALK)))], other)
    first, last = (round(at_s * SAMPLE_RATE_HZ) for at_s in (said.words[0].start_s, said.words[-1].end_s))
    return said.pcm[first:last]


def noise_bed(
    seconds: float, level_dbfs: float, draws: np.random.Generator, pool: SoundPool | None = None
) -> Pcm:
    """Noise of one kind at a level within the telephone's band: float32 [T] at 24 kHz."""
    num_samples = round(seconds * SAMPLE_RATE_HZ)
    if pool is not None and pool.noises:
        made = lasting(pool.noises, num_samples, draws)
    else:
        made = steady(NOISES[int(draws.integers(len(NOISES)))], num_samples, SAMPLE_RATE_HZ, draws)
    on_line = unit_rms(band(resample(made, SAMPLE_RATE_HZ, _LINE_RATE_HZ), Line()))
    return resample(on_line * np.float32(10 ** (level_dbfs / 20)), _LINE_RATE_HZ, SAMPLE_RATE_HZ)


class LiveEcho:
    """The path from the caller's loudspeaker to the caller's microphone, frame by frame."""

    def __init__(self, echo: Echo) -> None:
        click = np.zeros(round((_RESPONSE_S + echo.delay_ms / 1000) * SAMPLE_RATE_HZ), np.float32)
        click[0] = 1.0
        shape = echo_of(click, echo)
        voice = synthesize(GREETING.text, AGENT_VOICE).pcm
        back = oaconvolve(voice, shape)
        gain = 10 ** (echo.return_db / 20) * np.linalg.norm(voice) / max(float(np.linalg.norm(back)), 1e-9)
        self._response = np.asarray(shape * gain, np.float32)
        self._coming = np.zeros(len(self._response) + FRAME_SAMPLES, np.float32)

    def push(self, heard: Pcm) -> Pcm:
        """What returns while this frame, float32 [1920], is heard."""
        self._coming[: len(self._response) + FRAME_SAMPLES - 1] += oaconvolve(heard, self._response)
        back = self._coming[:FRAME_SAMPLES].copy()
        self._coming = np.concatenate([self._coming[FRAME_SAMPLES:], np.zeros(FRAME_SAMPLES, np.float32)])
        return back
