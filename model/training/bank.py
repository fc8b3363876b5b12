"""A bank of synthetic callers. A *stem* is one speaker saying some 25 requests, clean, at 24 kHz.

Noise and telephone are added anew whenever a stem is used. Shards are written whole or not at all.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import CheckpointError
from model.phrasings import Intent, Tone
from model.requests import Request, draw_request, phrase_change, phrase_number, phrase_order
from model.training.feed import side_by_side
from model.training.pauses import draw_pauses
from model.training.pool import Pool, draw_pool, draw_second_tone, draw_tone
from model.voices import (
    PHONE_IDS,
    SILENCE,
    TRAIN_VOICES,
    SpeechSynthesisError,
    Style,
    TimedPhone,
    TimedWord,
    Utterance,
    Voice,
    draw_voice,
    synthesize,
)
from model.voices_phones import UNKNOWN

SHARD_VERSION = 2  # of the requests that shards hold: raised when an older one can no longer be read
STEMS_PER_SHARD = 40
SAMPLE_RATE_HZ = 24_000

# What every stem holds; orders have the most wordings and need the most hearing, then digits.
STEM_INTENTS: tuple[Intent, ...] = (
    *[Intent.ORDER] * 5,
    *[Intent.NUMBER] * 3,
    *[Intent.CHANGE, Intent.YES, Intent.NO, Intent.REPEAT, Intent.BACKCHANNEL] * 2,
    *[Intent.HOURS, Intent.WHERE, Intent.PERSON, Intent.GOODBYE],
)
# And some of these.
OTHER_INTENTS: tuple[Intent, ...] = (
    *[Intent.CANCEL, Intent.STATUS, Intent.OTHER, Intent.GOODBYE] * 2,
    *[Intent.UNCLEAR, Intent.HOURS, Intent.WHERE, Intent.PERSON],
)
NUM_OTHERS = 5
SECOND_INTENTS: tuple[Intent, ...] = (  # of callers who have a second tone, in that one
    *[Intent.ORDER] * 2,
    *[Intent.CHANGE, Intent.NUMBER, Intent.YES, Intent.NO, Intent.REPEAT, Intent.PERSON, Intent.GOODBYE],
)
NO_LABEL = -100  # cross-entropy leaves it out
ECHO = "echo"  # of the kinds of distractors the one that only comes while the agent speaks
STYLED_CALM_SHARE = 0.5  # of calm callers that pass through the styles' method; the others are as spoken
# Of speakers, those who have a vocal tract of their own: there are some eighty voices in eight accents, and a
# model that knew these alone answered four of five of them right and every second stranger.
OWN_TRACT_SHARE = 0.5
FORMANT_SPREAD, F0_SPREAD = (0.88, 1.14), (0.8, 1.25)
PLAIN_WORDS_SHARE = 0.5  # of callers with a tone who use a calm caller's words: the sound alone tells of them


@dataclass(frozen=True)
class Turn:
    """One request as spoken: float32 [T] at 24 kHz, words and phones timed from its first sample.

    Without a request it is a distractor: a sound on the caller's side that wants no answer. It may hold no
    words.
    """

    request: Request | None
    pcm: NDArray[np.float32]
    words: list[TimedWord]
    phones: list[TimedPhone]
    pauses: tuple[tuple[float, float], ...] = ()  # from, to in seconds: where the speaker thinks
    clip: str = ""  # the recording that it was cut from
    kind: str = ""  # of a distractor


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


def make_stem(seed: int, pool: Pool) -> Stem:
    """A speaker and what they say of the pool's orders and numbers, drawn from the seed."""
    rng = random.Random(seed)
    draws = np.random.default_rng(seed)
    tone = draw_tone(rng)
    voice = draw_voice(draws, TRAIN_VOICES)
    if rng.random() < OWN_TRACT_SHARE:
        voice = with_own_tract(voice, draws)
    rate, pitch = draws.uniform(0.85, 1.25), draws.uniform(0.85, 1.2)
    second = draw_second_tone(tone, rng)
    is_styled = second is not None or rng.random() < STYLED_CALM_SHARE
    manner = Manner(rate, pitch, is_styled, draws)
    requests = draw_requests(rng, pool, tone)
    if second is not None:
        requests += draw_requests(rng, pool, second, SECOND_INTENTS)
        rng.shuffle(requests)
    return Stem(voice.name, [speak_request(one, voice, rng, manner) for one in requests])


def with_own_tract(voice: Voice, draws: np.random.Generator) -> Voice:
    """The voice of somebody with longer or shorter vocal tract and folds."""
    formants, f0 = (round(float(draws.uniform(*spread)), 2) for spread in (FORMANT_SPREAD, F0_SPREAD))
    return replace(voice, formants=voice.formants * formants, f0=voice.f0 * f0)


def draw_requests(
    rng: random.Random,
    pool: Pool,
    tone: Tone,
    intents: Sequence[Intent] = (),
    num_others: int = 0,
) -> list[Request]:
    """What one speaker says in a tone, in random order: `intents` (none: a balanced mix) and some others.

    Each change fits one of the orders.
    """
    if not intents:
        intents, num_others = STEM_INTENTS, NUM_OTHERS
    wishes = rng.sample(pool.wishes[tone], min(intents.count(Intent.ORDER), len(pool.wishes[tone])))
    changes = [wish.change for wish in wishes[: intents.count(Intent.CHANGE)]]
    orders = [wish.order for wish in wishes]
    asked = [*intents, *rng.sample(OTHER_INTENTS, num_others)]
    others = [i for i in asked if i not in (Intent.ORDER, Intent.CHANGE, Intent.NUMBER)]
    numbers = [rng.choice(pool.numbers[tone]) for _ in range(intents.count(Intent.NUMBER))]
    words = Tone.CALM if rng.random() < PLAIN_WORDS_SHARE else tone
    requests = [phrase_order(order, rng, tone=words, is_lively=True) for order in orders]
    requests += [phrase_change(change, rng, tone=words, is_lively=True) for change in changes]
    requests += [phrase_number(number, rng, tone=words, is_lively=True) for number in numbers]
    requests += [draw_request(rng, intent, tone=words, is_lively=True) for intent in others]
    rng.shuffle(requests)
    return [replace(request, tone=tone) for request in requests]


@dataclass(frozen=True)
class Manner:
    """How a caller speaks: speed and F0 beside the voice's own, and where their shades come from.

    `is_styled`: calm speech goes through the styles' method as well. Other tones always do.
    """

    rate: float
    pitch: float
    is_styled: bool
    draws: np.random.Generator

    def style(self, tone: Tone) -> Style | None:
        """How this caller says something in a tone, whatever the voice's engine."""
        return Style(tone.value) if self.is_styled or tone is not Tone.CALM else None


def speak_request(request: Request, voice: Voice, rng: random.Random, manner: Manner) -> Turn:
    """A request as sound, at times with pauses. Raises SpeechSynthesisError."""
    style = manner.style(request.tone)
    shades = manner.draws if style else None
    speech = synthesize(request.text, voice, rate=manner.rate, pitch=manner.pitch, rng=shades, style=style)
    pauses: list[tuple[float, float]] = []
    if len(speech.words) == len(request.text.split()):
        for after, pause_s in draw_pauses(request, rng):
            at_s = speech.words[after - 1].end_s
            speech = insert_pause(speech, after, pause_s)
            pauses.append((at_s, at_s + pause_s))
    return Turn(request, speech.pcm, speech.words, speech.phones, tuple(pauses))


def save_shard(stems: list[Stem], path: Path) -> None:
    """Write stems as one .npz of int16 sound and JSON truth."""
    pcm = np.concatenate([turn.pcm for stem in stems for turn in stem.turns])
    truth = [{"voice": stem.voice, "turns": [_turn_as_json(turn) for turn in stem.turns]} for stem in stems]
    partial = path.with_suffix(".partial")  # a suffix that no stage takes for a shard, should it be left here
    with partial.open("wb") as file:
        np.savez(
            file,
            pcm=np.rint(np.clip(pcm, -1, 1) * 32767).astype(np.int16),
            truth=np.array(versioned(truth)),
        )
    partial.replace(path)


def _turn_as_json(turn: Turn) -> dict[str, Any]:
    return {
        "request": turn.request.as_json() if turn.request is not None else None,
        "num_samples": len(turn.pcm),
        "words": [[w.text, w.start_s, w.end_s] for w in turn.words],
        "phones": [[p.phone, p.start_s, p.end_s] for p in turn.phones],
        "pauses": turn.pauses,
        "clip": turn.clip,
        "kind": turn.kind,
    }


def versioned(stems: list[dict[str, Any]]) -> str:
    """A shard's truth as JSON that tells its version."""
    return json.dumps({"version": SHARD_VERSION, "stems": stems})


def read_versioned(text: str, path: Path) -> list[dict[str, Any]]:
    """The stems of a shard's truth.

    Raises CheckpointError if another version of the order line wrote it.
    """
    truth = json.loads(text)
    version = truth.get("version") if isinstance(truth, dict) else 1
    if version != SHARD_VERSION:
        raise CheckpointError(
            f"{path} is of version {version}, this is {SHARD_VERSION}: its callers know another order line; "
            f"remove {path.parent} and run the stage that fills it again"
        )
    stems: list[dict[str, Any]] = truth["stems"]
    return stems


def load_shard(path: Path) -> list[Stem]:
    """The stems of a shard. Raises CheckpointError if another version of the order line wrote it."""
    with np.load(path) as stored:
        pcm, truth = stored["pcm"], read_versioned(str(stored["truth"]), path)
    stems, at = [], 0
    for entry in truth:
        turns = []
        for turn in entry["turns"]:
            sound = pcm[at : at + turn["num_samples"]].astype(np.float32) / 32767
            at += turn["num_samples"]
            request = Request.from_json(turn["request"]) if turn["request"] else None
            words = [TimedWord(*w) for w in turn["words"]]
            phones = [TimedPhone(*p) for p in turn["phones"]]
            pauses = tuple((p[0], p[1]) for p in turn["pauses"])
            more = turn.get("clip", ""), turn.get("kind", "")
            turns.append(Turn(request, sound, words, phones, pauses, *more))
        stems.append(Stem(entry["voice"], turns))
    return stems


def _build_shard(path: Path, first_seed: int, make: Callable[[int], Stem]) -> Path:
    """Write one shard of callers, seeds counted from `first_seed`."""
    stems = []
    for seed in range(first_seed, first_seed + STEMS_PER_SHARD):
        try:
            stems.append(make(seed))
        except SpeechSynthesisError:
            continue  # a few espeak variants refuse a few words; the speaker is left out
    save_shard(stems, path)
    return path


def build_bank(
    folder: Path, num_shards: int, first_seed: int, num_workers: int = 0, pool: Pool | None = None
) -> Iterator[Path]:
    """Write the shards that are missing, in line or by worker processes; each path once it is there.

    Callers speak of the pool's orders and numbers, by default of the pool that `draw_pool` gives.
    """
    make = partial(make_stem, pool=pool or draw_pool())
    yield from build_shards(folder, num_shards, first_seed, num_workers, make)


def build_shards(
    folder: Path, num_shards: int, first_seed: int, num_workers: int, make: Callable[[int], Stem]
) -> Iterator[Path]:
    """The same of any kind of callers: `make` gives the one of a seed, and can be sent to a process."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"bank-{first_seed}-{shard:04d}.npz" for shard in range(num_shards)]
    missing = [
        (path, first_seed + shard * STEMS_PER_SHARD, make)
        for shard, path in enumerate(paths)
        if not path.exists()
    ]
    yield from side_by_side(_build_shard, missing, num_workers)


def phone_labels(phones: list[TimedPhone], times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Phone id at each time, silence outside, NO_LABEL where it is unknown: int64 [len(times_s)]."""
    labels = np.full(len(times_s), PHONE_IDS[SILENCE], np.int64)
    for phone in phones:
        label = NO_LABEL if phone.phone == UNKNOWN else PHONE_IDS[phone.phone]
        labels[(times_s >= phone.start_s) & (times_s < phone.end_s)] = label
    return labels
