"""A bank of synthetic callers. A *stem* is one speaker saying some eighteen requests, clean, at 24 kHz.

Noise and telephone are added anew whenever a stem is used. Shards are written whole or not at all.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.order_line import Intent, Order, Request, draw_request
from model.training.feed import side_by_side
from model.voices import (
    PHONE_IDS,
    SILENCE,
    TRAIN_VOICES,
    SpeechSynthesisError,
    TimedPhone,
    TimedWord,
    Utterance,
    draw_voice,
    synthesize,
)
from model.voices_phones import UNKNOWN

STEMS_PER_SHARD = 40
SAMPLE_RATE_HZ = 24_000

# How often each intent stands in a stem; orders have the most wordings and need the most hearing.
STEM_INTENTS: tuple[Intent, ...] = (
    *[Intent.ORDER] * 5,
    *[Intent.YES, Intent.NO, Intent.HOURS, Intent.WHERE, Intent.REPEAT, Intent.GOODBYE] * 2,
    Intent.PERSON,
)
OTHER_SHARE = 0.5
PAUSE_SHARE = 0.4
NO_LABEL = -100  # cross-entropy leaves it out


@dataclass(frozen=True)
class Turn:
    """One request as spoken: float32 [T] at 24 kHz, words and phones timed from its first sample."""

    request: Request
    pcm: NDArray[np.float32]
    words: list[TimedWord]
    phones: list[TimedPhone]
    clip: str = ""  # the recording that it was cut from


@dataclass(frozen=True)
class Stem:
    """One speaker's turns."""

    voice: str
    turns: list[Turn]


def insert_pause(speech: Utterance, after_words: int, pause_s: float) -> Utterance:
    """The same speech with silence after its n-th word, as of a caller who thinks."""
    at = round(speech.words[after_words - 1].end_s * SAMPLE_RATE_HZ)
    gap = round(pause_s * SAMPLE_RATE_HZ)
    fade = min(120, at, len(speech.pcm) - at)
    pcm = np.concatenate([speech.pcm[:at], np.zeros(gap, np.float32), speech.pcm[at:]])
    pcm[at - fade : at] *= np.linspace(1, 0, fade, dtype=np.float32)
    pcm[at + gap : at + gap + fade] *= np.linspace(0, 1, fade, dtype=np.float32)
    at_s, gap_s = at / SAMPLE_RATE_HZ, gap / SAMPLE_RATE_HZ
    words = [TimedWord(w.text, w.start_s, min(w.end_s, at_s)) for w in speech.words[:after_words]]
    words += [
        TimedWord(w.text, max(w.start_s, at_s) + gap_s, w.end_s + gap_s) for w in speech.words[after_words:]
    ]
    return Utterance(pcm, words, _pause_phones(speech.phones, at_s, gap_s))


def _pause_phones(phones: list[TimedPhone], at_s: float, gap_s: float) -> list[TimedPhone]:
    """Phones with silence put in at a time; one that lies across it keeps its longer part."""
    before: list[TimedPhone] = []
    after: list[TimedPhone] = []
    for p in phones:
        if (p.start_s + p.end_s) / 2 <= at_s:
            before.append(TimedPhone(p.phone, p.start_s, min(p.end_s, at_s)))
        else:
            after.append(TimedPhone(p.phone, max(p.start_s, at_s) + gap_s, p.end_s + gap_s))
    start_s = before[-1].end_s if before else at_s
    end_s = after[0].start_s if after else at_s + gap_s
    return [*before, TimedPhone(SILENCE, start_s, end_s), *after]


def make_stem(seed: int) -> Stem:
    """A speaker and what they say, drawn from the seed."""
    rng = random.Random(seed)
    draws = np.random.default_rng(seed)
    voice = draw_voice(draws, TRAIN_VOICES)
    rate, pitch = draws.uniform(0.85, 1.25), draws.uniform(0.85, 1.2)
    intents = list(STEM_INTENTS)
    if rng.random() < OTHER_SHARE:
        intents.append(Intent.OTHER)
    rng.shuffle(intents)
    turns = []
    for intent in intents:
        request = draw_request(rng, intent, all_slots=rng.random() < 0.4)
        speech = synthesize(request.text, voice, rate=rate, pitch=pitch)
        places = request.incomplete_words()
        if places and len(speech.words) == len(request.text.split()) and rng.random() < PAUSE_SHARE:
            speech = insert_pause(speech, rng.choice(places), rng.uniform(0.3, 1.1))
        turns.append(Turn(request, speech.pcm, speech.words, speech.phones))
    return Stem(voice.name, turns)


def save_shard(stems: list[Stem], path: Path) -> None:
    """Write stems as one .npz of int16 sound and JSON truth."""
    pcm = np.concatenate([turn.pcm for stem in stems for turn in stem.turns])
    truth = [
        {
            "voice": stem.voice,
            "turns": [
                {
                    "intent": turn.request.intent.value,
                    "text": turn.request.text,
                    "order": asdict(turn.request.order) if turn.request.order else None,
                    "num_samples": len(turn.pcm),
                    "words": [[w.text, w.start_s, w.end_s] for w in turn.words],
                    "phones": [[p.phone, p.start_s, p.end_s] for p in turn.phones],
                    "clip": turn.clip,
                }
                for turn in stem.turns
            ],
        }
        for stem in stems
    ]
    partial = path.with_suffix(".partial")  # a suffix that no stage takes for a shard, should it be left here
    with partial.open("wb") as file:
        np.savez(
            file, pcm=np.rint(np.clip(pcm, -1, 1) * 32767).astype(np.int16), truth=np.array(json.dumps(truth))
        )
    partial.replace(path)


def load_shard(path: Path) -> list[Stem]:
    """The stems of a shard."""
    with np.load(path) as stored:
        pcm, truth = stored["pcm"], json.loads(str(stored["truth"]))
    stems, at = [], 0
    for entry in truth:
        turns = []
        for turn in entry["turns"]:
            sound = pcm[at : at + turn["num_samples"]].astype(np.float32) / 32767
            at += turn["num_samples"]
            order = Order(**turn["order"]) if turn["order"] else None
            request = Request(Intent(turn["intent"]), turn["text"], order)
            words = [TimedWord(*w) for w in turn["words"]]
            phones = [TimedPhone(*p) for p in turn["phones"]]
            turns.append(Turn(request, sound, words, phones, turn.get("clip", "")))
        stems.append(Stem(entry["voice"], turns))
    return stems


def _build_shard(path: Path, first_seed: int) -> Path:
    """Write one shard of callers, seeds counted from `first_seed`."""
    stems = []
    for seed in range(first_seed, first_seed + STEMS_PER_SHARD):
        try:
            stems.append(make_stem(seed))
        except SpeechSynthesisError:
            continue  # a few espeak variants refuse a few words; the speaker is left out
    save_shard(stems, path)
    return path


def build_bank(folder: Path, num_shards: int, first_seed: int, num_workers: int = 0) -> Iterator[Path]:
    """Write the shards that are missing, in line or by worker processes; each path once it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"bank-{first_seed}-{shard:04d}.npz" for shard in range(num_shards)]
    missing = [
        (path, first_seed + shard * STEMS_PER_SHARD) for shard, path in enumerate(paths) if not path.exists()
    ]
    yield from side_by_side(_build_shard, missing, num_workers)


def phone_labels(phones: list[TimedPhone], times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Phone id at each time, silence outside, NO_LABEL where it is unknown: int64 [len(times_s)]."""
    labels = np.full(len(times_s), PHONE_IDS[SILENCE], np.int64)
    for phone in phones:
        label = NO_LABEL if phone.phone == UNKNOWN else PHONE_IDS[phone.phone]
        labels[(times_s >= phone.start_s) & (times_s < phone.end_s)] = label
    return labels
