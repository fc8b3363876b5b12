"""What the callers of a load say: spoken requests in a loop, as G.711 packets made once, with known ends.

Each sentence is without pauses, so that it is one turn for whoever answers, and each is followed by enough
silence for an answer; the n-th turn of a call must therefore be answered by the stand-in's line n + 1.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.bench_rtp import PACKET_S, PACKET_SAMPLES, RATE_HZ, encode
from agent.standin import VOICED_DBFS
from model.channel import resample
from model.order_line import Intent
from model.requests import draw_request
from model.voices import HELD_OUT_VOICES, SAMPLE_RATE_HZ, TRAIN_VOICES, Voice, synthesize
from telephony.audio import Pcm

CODEC = "PCMU"
LEAD_S = 2.2  # the greeting is over by then
PAUSE_S = 2.4  # after each sentence: an answer of a second begins within half a second
MAX_SENTENCE_S = 3.6  # from 5 s on the stand-in takes it for a question
MAX_DIP_S = 0.12  # of quiet inside a sentence
HOP_SAMPLES = 80  # 10 ms
INTENTS = (Intent.ORDER, Intent.CHANGE, Intent.NUMBER, Intent.HOURS, Intent.WHERE, Intent.STATUS)
VOICES: tuple[Voice, ...] = (*TRAIN_VOICES[:13], HELD_OUT_VOICES[1], *HELD_OUT_VOICES[2:8])
DRAWS = 40  # attempts at a sentence that is short enough


@dataclass(frozen=True, slots=True)
class Program:
    """One caller: uint8 [P, 160], packet after packet, for ever again; LEAD_S of silence come first once."""

    codes: NDArray[np.uint8]
    ends: NDArray[np.int64]  # packets of the loop after which a sentence is over

    @property
    def num_packets(self) -> int:
        """Of one loop."""
        return len(self.codes)

    @staticmethod
    def lead_packets() -> int:
        """Silence before the first sentence."""
        return round(LEAD_S / PACKET_S)

    def turn_ends(self, num_sent: int) -> NDArray[np.int64]:
        """Packets, counted from the call's first, with the last sound of each whole turn in `num_sent`."""
        loops = np.arange(num_sent // self.num_packets + 1)
        ends = (self.lead_packets() + loops[:, None] * self.num_packets + self.ends[None, :]).reshape(-1)
        return ends[ends < num_sent]


def without_pauses(pcm: Pcm) -> Pcm:
    """Speech at 8 kHz from its first to its last sound, float32 [T], its pauses cut to MAX_DIP_S."""
    hops = pcm[: len(pcm) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES)
    loud = np.mean(np.square(hops, dtype=np.float64), axis=1) > 10 ** (VOICED_DBFS / 10)
    if not loud.any():
        return np.zeros(0, np.float32)
    since = np.arange(len(hops)) - np.maximum.accumulate(np.where(loud, np.arange(len(hops)), -len(hops)))
    kept = since * HOP_SAMPLES <= MAX_DIP_S * RATE_HZ
    kept[int(np.flatnonzero(loud)[-1]) + 1 :] = False
    return np.asarray(hops[kept].reshape(-1), np.float32)


def sentence(voice: Voice, rng: random.Random) -> Pcm:
    """A request in this voice at 8 kHz, float32 [T], at most MAX_SENTENCE_S. Raises SpeechSynthesisError."""
    for _ in range(DRAWS):
        said = synthesize(draw_request(rng, rng.choice(INTENTS)).text, voice).pcm
        pcm = without_pauses(resample(said, SAMPLE_RATE_HZ, RATE_HZ))
        if 0.8 * RATE_HZ < len(pcm) <= MAX_SENTENCE_S * RATE_HZ:
            return pcm
    raise AssertionError(f"{DRAWS} sentences in a row were too long in {voice.name}")


def program_of(sentences: list[Pcm]) -> Program:
    """Sentences at 8 kHz and a pause after each, as packets."""
    parts: list[Pcm] = []
    ends: list[int] = []
    for pcm in sentences:
        whole = np.zeros(-(-len(pcm) // PACKET_SAMPLES) * PACKET_SAMPLES, np.float32)
        whole[len(whole) - len(pcm) :] = pcm  # the last packet ends with the last sound
        parts += [whole, np.zeros(round(PAUSE_S * RATE_HZ), np.float32)]
        ends.append(sum(map(len, parts[:-1])) // PACKET_SAMPLES - 1)
    codes = np.frombuffer(encode(np.concatenate(parts), CODEC), np.uint8)
    return Program(codes.reshape(-1, PACKET_SAMPLES), np.array(ends))


@lru_cache(maxsize=4)
def programs(num: int, num_sentences: int = 3, seed: int = 0) -> tuple[Program, ...]:
    """`num` callers, each with a voice of their own as long as there are voices.

    Raises model.voices.SpeechSynthesisError where the voices are not installed.
    """
    rng = random.Random(seed)
    voices = [VOICES[number % len(VOICES)] for number in range(num)]
    return tuple(program_of([sentence(voice, rng) for _ in range(num_sentences)]) for voice in voices)
