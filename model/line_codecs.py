"""The codecs of a telephone line, there and back: float32 [T] in -1..1 -> the same, delay removed.

G.711 is exact and always there. G.722 and Opus run the real encoder and decoder where their package is
installed; without G722's, its noise is approximated: 30 dB below the signal that it follows, some 6 dB more
than the codec's own.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]
Codec = Literal["pcmu", "pcma", "g722", "opus"]

RATES_HZ: dict[Codec, int] = {"pcmu": 8_000, "pcma": 8_000, "g722": 16_000, "opus": 24_000}
_G722_DELAY = 22  # samples, of both filter banks
_OPUS_LOUDEST_BITRATE, _OPUS_LOWEST_BITRATE = 256_000, 6_000  # libsndfile's dial, per channel


def available() -> tuple[Codec, ...]:
    """The codecs that this machine can run."""
    return ("pcmu", "pcma", "g722", *(("opus",) if find_spec("soundfile") else ()))


def through(pcm: Pcm, codec: Codec, rng: np.random.Generator, *, bitrate: int = 24_000) -> Pcm:
    """Sound at the codec's rate, encoded and decoded; `bitrate` is Opus's, in bit/s."""
    if codec == "g722":
        return g722(pcm, rng)
    if codec == "opus":
        return opus(pcm, bitrate)
    return g711(pcm, codec)


def g711(pcm: Pcm, codec: Literal["pcmu", "pcma"]) -> Pcm:
    """Through G.711 and back: float32 -> the nearest of its 256 values (ITU-T G.711; clips at full scale)."""
    levels = _mu_law_levels() if codec == "pcmu" else _a_law_levels()
    index = np.searchsorted((levels[1:] + levels[:-1]) / 2, pcm)
    return np.asarray(levels[index], np.float32)


@cache
def _mu_law_levels() -> NDArray[np.float64]:
    """The decoder's output values, rising."""
    code = np.arange(128)
    magnitude = ((2 * (code & 15) + 33) << (code >> 4)) - 33
    return np.unique(np.concatenate([-magnitude, magnitude])) * 4 / 32768


@cache
def _a_law_levels() -> NDArray[np.float64]:
    code = np.arange(128)
    segment, step = code >> 4, code & 15
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    return np.sort(np.concatenate([-magnitude, magnitude])) * 8 / 32768


def g722(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """Through ITU-T G.722 at 64 kbit/s, at 16 kHz; `rng` makes the noise if the package is missing."""
    if not find_spec("G722"):
        return _like_adpcm(pcm, rng)
    from G722 import G722

    padded = np.pad(pcm, (0, _G722_DELAY + (len(pcm) + _G722_DELAY) % 2))
    sound = np.rint(np.clip(padded, -1, 1) * 32_767).astype(np.int16)
    decoded = np.asarray(G722(16_000, 64_000).decode(G722(16_000, 64_000).encode(sound)), np.int16)
    return np.asarray(decoded[_G722_DELAY : _G722_DELAY + len(pcm)] / 32_768, np.float32)


def _like_adpcm(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    size = 160
    padded = np.pad(pcm, (0, -len(pcm) % size))
    level = np.sqrt(np.square(padded, dtype=np.float64).reshape(-1, size).mean(1))
    envelope = np.repeat(level, size)[: len(pcm)]
    return np.asarray(pcm + 0.03 * envelope * rng.standard_normal(len(pcm)), np.float32).clip(-1, 1)


def opus(pcm: Pcm, bitrate: int) -> Pcm:
    """Through libsndfile's Opus at 24 kHz, about `bitrate` bit/s, packets of 20 ms. Needs soundfile."""
    import soundfile

    if len(pcm) == 0:
        return pcm
    squeeze = 1 - (bitrate - _OPUS_LOWEST_BITRATE) / (_OPUS_LOUDEST_BITRATE - _OPUS_LOWEST_BITRATE)
    packed = BytesIO()
    soundfile.write(
        packed,
        pcm,
        RATES_HZ["opus"],
        format="OGG",
        subtype="OPUS",
        compression_level=float(np.clip(squeeze, 0, 1)),
    )
    packed.seek(0)
    heard, _ = soundfile.read(packed, dtype="float32")
    return np.asarray(heard, np.float32).clip(-1, 1)
