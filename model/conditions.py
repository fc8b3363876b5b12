"""Everything that may happen between a mouth and the model, drawn by a seed and told exactly: `Condition`.

A condition is plain numbers: evaluation takes one and sweeps a factor with `dataclasses.replace`, training
draws them. Order of events: room; band and level; other speakers, noise, music and the agent's echo beside
the caller; the microphone's clipping; the codec; packet loss and what hides it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from model.channel import Line, active_rms, band, fit, resample
from model.echo import Echo, draw_echo, echo_of
from model.line_codecs import Codec, available, through
from model.music import STYLES, music
from model.noise import STEADY, SoundPool, babble, lasting, steady, unit_rms
from model.packet_loss import PACKET_S, Loss, conceal, draw_lost
from model.rooms import pooled, reverberate

Pcm = NDArray[np.float32]
Around = Literal[
    "none",
    "white",
    "pink",
    "rumble",
    "hum",
    "murmur",
    "recorded",
    "babble",
    "chords",
    "arpeggio",
    "beat",
    "waltz",
]

RATE_HZ = 24_000
NUM_ROOMS = 256  # in the pool; drawn once each
NEAR_MOUTH_SHARE = 0.4  # handsets: no room to hear
SNR_DB = (0.0, 30.0)
BACKGROUND_SPEECH_DB = -15.0
_BACKGROUND_LOWPASS_HZ, _BACKGROUND_ECHO_S, _BACKGROUND_ECHO_DB = 3000.0, 0.1, -10.0
SIDE_TALK_DB = -8.0
_SIDE_TALK_SHELF_HZ, _SIDE_TALK_SHELF_DB = 4000.0, -5.0
_SIDE_TALK_REFLECTIONS = ((0.045, -6.0), (0.12, -12.0))
_SILENT_RMS = 1e-5


@dataclass(frozen=True, slots=True)
class Condition:
    """One call's; None is without it. Ratios are to the caller's active speech, within the line's band."""

    codec: Codec = "pcmu"
    low_hz: float = 300.0
    high_hz: float = 3400.0
    level_dbfs: float = -26.0
    room: int | None = None  # of the pool of `rooms.pooled`
    around: Around = "none"
    snr_db: float = 30.0
    background_speech_db: float | None = None
    echo: Echo | None = None
    clip_db: float | None = None  # the microphone's limit, above the RMS of the active speech
    loss: Loss | None = None
    opus_bitrate: int = 24_000
    seed: int = 0  # of the noise, the lost packets and whoever else speaks

    @property
    def line(self) -> Line:
        """The line alone."""
        return Line(self.codec, self.low_hz, self.high_hz, self.level_dbfs)


def draw_condition(
    rng: np.random.Generator, pool: SoundPool | None = None, *, hardness: float = 1.0, has_agent: bool = False
) -> Condition:
    """A random condition; `hardness` 0 is a clean line of any codec, 1 what callers have, up to all at once.

    `pool` says whether there are recorded noises and speech to draw from, `has_agent` whether an echo can be.
    """
    codec = _draw_codec(rng)
    wide = codec in ("g722", "opus")

    def happens(share: float) -> bool:
        return bool(rng.random() < share * hardness)

    return Condition(
        codec=codec,
        low_hz=float(rng.uniform(50, 200) if wide else rng.uniform(80, 350)),
        high_hz=float(
            rng.uniform(6000, 7200) if codec == "g722" else 9_000 if wide else rng.uniform(3100, 3800)
        ),
        level_dbfs=float(rng.uniform(-29, -21) + rng.uniform(-9, 3)),
        room=int(rng.integers(NUM_ROOMS)) if happens(1 - NEAR_MOUTH_SHARE) else None,
        around=_draw_around(rng, pool or SoundPool()) if happens(0.75) else "none",
        snr_db=float(rng.triangular(*SNR_DB, SNR_DB[1])),
        background_speech_db=BACKGROUND_SPEECH_DB + float(rng.uniform(-6, 3))
        if happens(0.08) and pool and pool.speech
        else None,
        echo=draw_echo(rng, num_rooms=NUM_ROOMS) if happens(0.3) and has_agent else None,
        clip_db=float(rng.uniform(3, 14)) if happens(0.08) else None,
        loss=_draw_loss(rng) if happens(0.25) else None,
        opus_bitrate=int(rng.choice((12_000, 16_000, 24_000, 32_000))),
        seed=int(rng.integers(2**31)),
    )


def _draw_codec(rng: np.random.Generator) -> Codec:
    shares: dict[Codec, float] = {"pcmu": 0.5, "pcma": 0.32, "g722": 0.1, "opus": 0.08}
    there = available()
    weights = np.array([shares[codec] for codec in there])
    return there[int(rng.choice(len(there), p=weights / weights.sum()))]


def _draw_around(rng: np.random.Generator, pool: SoundPool) -> Around:
    shares: dict[Around, float] = {
        "white": 0.1, "pink": 0.2, "rumble": 0.1, "hum": 0.05, "murmur": 0.1,
        "chords": 0.02, "arpeggio": 0.02, "beat": 0.02, "waltz": 0.02,
    }  # fmt: skip
    shares |= {"recorded": 0.3} if pool.noises else {}
    shares |= {"babble": 0.12} if pool.speech else {}
    weights = np.array(list(shares.values()))
    return list(shares)[int(rng.choice(len(shares), p=weights / weights.sum()))]


def _draw_loss(rng: np.random.Generator) -> Loss:
    rate = float(np.exp(rng.uniform(np.log(0.002), np.log(0.12))))
    hidden = ("waveform", "waveform", "repeat", "silence")[int(rng.integers(4))]
    return Loss(rate, float(rng.uniform(1, 4)), hidden)  # type: ignore[arg-type]


def apply(pcm: Pcm, condition: Condition, *, agent: Pcm | None = None, pool: SoundPool | None = None) -> Pcm:
    """The caller's clean sound as it reaches the model: float32 [T] at 24 kHz -> the same, not delayed.

    `agent` is what the agent says in that time, float32 [T], wanted if there is an echo; `pool` holds
    recordings to draw from. The same condition gives the same sound. Raises ValueError if it needs what was
    not given.
    """
    pool = pool or SoundPool()
    rng = np.random.default_rng(condition.seed)
    line = condition.line
    voice = pcm if condition.room is None else reverberate(pcm, pooled(condition.room)[1])
    sound = band(resample(np.asarray(voice, np.float32), RATE_HZ, line.rate_hz), line)
    rms = active_rms(sound, line.rate_hz)
    if rms > _SILENT_RMS:
        sound = sound * np.float32(10 ** (line.level_dbfs / 20) / rms)
    for part, ratio_db in _beside(len(pcm), condition, pool, rng):
        heard = unit_rms(band(resample(part, RATE_HZ, line.rate_hz), line))
        sound = sound + fit(heard, len(sound)) * np.float32(10 ** ((line.level_dbfs + ratio_db) / 20))
    if condition.echo is not None:
        if agent is None:
            raise ValueError("an echo needs what the agent says: pass `agent`")
        back = echo_of(fit(agent, len(pcm)), condition.echo)
        sound = sound + fit(band(resample(back, RATE_HZ, line.rate_hz), line), len(sound))
    if condition.clip_db is not None:
        limit = 10 ** ((line.level_dbfs + condition.clip_db) / 20)
        sound = np.clip(sound, -limit, limit)
    sound = through(sound, condition.codec, rng, bitrate=condition.opus_bitrate)
    if condition.loss is not None:
        num_packets = -(-len(sound) // round(PACKET_S * line.rate_hz))
        lost = draw_lost(num_packets, condition.loss, rng)
        sound = conceal(sound, line.rate_hz, lost, condition.loss.concealment)
    return fit(resample(sound, line.rate_hz, RATE_HZ), len(pcm))


def _beside(
    num_samples: int, condition: Condition, pool: SoundPool, rng: np.random.Generator
) -> list[tuple[Pcm, float]]:
    """What sounds beside the caller throughout, each with its level relative to the caller's."""
    parts = []
    if condition.around != "none":
        parts.append((_around(condition.around, num_samples, pool, rng), -condition.snr_db))
    if condition.background_speech_db is not None:
        if not pool.speech:
            raise ValueError("background speech needs a pool that holds speech")
        speech = background_speech(lasting(pool.speech, num_samples, rng))
        parts.append((speech, condition.background_speech_db))
    return parts


def _around(kind: Around, num_samples: int, pool: SoundPool, rng: np.random.Generator) -> Pcm:
    if kind in STEADY:
        return steady(kind, num_samples, RATE_HZ, rng)
    if kind in STYLES:
        return music(kind, num_samples, RATE_HZ, rng)
    sounds = pool.noises if kind == "recorded" else pool.speech
    if not sounds:
        raise ValueError(f"{kind} noise needs a pool that holds its recordings")
    return lasting(sounds, num_samples, rng) if kind == "recorded" else babble(sounds, num_samples, rng)


def background_speech(pcm: Pcm) -> Pcm:
    """Speech from across a room, float32 [T] at 24 kHz: 3 kHz low-pass, an echo after 100 ms (FDB v1.5, arXiv
    2507.23159)."""
    dull = np.asarray(sosfilt(_low_pass(), pcm), np.float32)
    return _with_reflections(dull, ((_BACKGROUND_ECHO_S, _BACKGROUND_ECHO_DB),))


def side_talk(pcm: Pcm) -> Pcm:
    """Somebody beside the caller, float32 [T] at 24 kHz: a duller voice with two reflections (FDB v1.5, arXiv
    2507.23159); that it is quieter is left to whoever mixes it in."""
    low = np.asarray(sosfilt(_shelf_split(), pcm), np.float32)
    shelved = low + (pcm - low) * np.float32(10 ** (_SIDE_TALK_SHELF_DB / 20))
    return _with_reflections(shelved, _SIDE_TALK_REFLECTIONS)


def _with_reflections(pcm: Pcm, reflections: tuple[tuple[float, float], ...]) -> Pcm:
    out = pcm.copy()
    for delay_s, gain_db in reflections:
        late = round(delay_s * RATE_HZ)
        out[late:] += pcm[: max(0, len(pcm) - late)] * np.float32(10 ** (gain_db / 20))
    return out


def _low_pass() -> NDArray[np.float64]:
    return np.asarray(butter(4, _BACKGROUND_LOWPASS_HZ, fs=RATE_HZ, output="sos"))


def _shelf_split() -> NDArray[np.float64]:
    return np.asarray(butter(1, _SIDE_TALK_SHELF_HZ, fs=RATE_HZ, output="sos"))
