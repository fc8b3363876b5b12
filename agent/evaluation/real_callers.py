"""Real callers from recordings that the user points at: orders with their slots, numbers from single digits.

The corpora are those that training takes, by the same list and under the same names, so that the fold which a
training run left out is the fold that is called here. No recording is copied but into the run's own folder.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.energy_gate import GateConfig, Pcm, Segment, find_segments
from agent.errors import AgentError
from agent.evaluation.placed_call import read_audio
from agent.evaluation.script import WAIT_S, Manner, SpokenStep, Step
from agent.evaluation.stimuli import at_level
from model.errors import RecordingError
from model.noise import SoundPool
from model.numbers import DIGIT_WORDS, NUM_DIGITS
from model.order import Order, describe
from model.order_line import Intent, Request
from model.training.bank import Turn
from model.training.corpora import find_corpora
from model.training.digit_strings import GAP_S, GROUP_GAP_S, join_digits
from model.training.folds import fold_of, speaker_folds
from model.training.recording_folder import Recording
from model.voices import SAMPLE_RATE_HZ, TimedWord

GATE = GateConfig(threshold_dbfs=-45.0, tail_db=30.0, noise_window_s=0.3)  # clips begin quietly and are short
GATE_LEVEL_DBFS = -20.0
LEAD_S, TRAIL_S = 0.3, 0.3  # of a recording, kept around its speech
MAX_SOUNDS = 40  # of a kind, to be held in memory


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and what is said in it."""

    name: str  # corpus/file, as training names it
    path: Path
    speaker: str
    order: Order | None = None
    digit: str = ""


@dataclass(slots=True)
class RealCallers:
    """What can be called with: orders, single digits by speaker, and sounds around callers."""

    orders: list[Clip] = field(default_factory=list)
    digits: dict[str, list[Clip]] = field(default_factory=dict)
    noises: list[Path] = field(default_factory=list)
    speech: list[Path] = field(default_factory=list)  # of people who talk beside the caller
    _sounds: SoundPool | None = None

    def pool(self) -> SoundPool:
        """The recorded noises and other people, read once."""
        if self._sounds is None:
            noises, speech = (
                [read_audio(path) for path in sorted(paths)[:MAX_SOUNDS]]
                for paths in (self.noises, self.speech)
            )
            self._sounds = SoundPool(noises, [trimmed(pcm)[0] for pcm in speech])
        return self._sounds

    def order(self, number: int, draws: np.random.Generator, level_dbfs: float) -> tuple[Clip, SpokenStep]:
        """Order `number` of a fixed shuffle, as a step at a level."""
        clip = _shuffled(self.orders)[number % len(self.orders)]
        assert clip.order is not None
        pcm, span = trimmed(at_level(read_audio(clip.path), level_dbfs))
        request = Request(Intent.ORDER, describe(clip.order), clip.order)
        return clip, _step(request, pcm, span, draws)

    def number(self, number: int, draws: np.random.Generator, level_dbfs: float) -> tuple[str, SpokenStep]:
        """A telephone number said by one of the speakers, from their single digits; the speaker's name."""
        speakers = sorted(self.digits)
        speaker = speakers[number % len(speakers)]
        rng = random.Random(int(draws.integers(2**31)))
        wanted = "".join(str(rng.randrange(10)) for _ in range(NUM_DIGITS))
        turns = [
            _digit_turn(rng.choice([c for c in self.digits[speaker] if c.digit == digit])) for digit in wanted
        ]
        gaps_s = [rng.uniform(*GAP_S) for _ in turns[1:]]
        gaps_s[2] = rng.uniform(*GROUP_GAP_S)
        said = join_digits(turns, gaps_s)
        text = " ".join(DIGIT_WORDS[int(digit)] for digit in wanted)
        span = Segment(said.words[0].start_s, said.words[-1].end_s)
        request = Request(Intent.NUMBER, text, number=wanted)
        return speaker, _step(request, at_level(said.pcm, level_dbfs), span, draws)


def find_callers(place: Path, fold: int | None) -> RealCallers:
    """The callers of a list of corpora, of one fold alone if it is given. Raises AgentError."""
    try:
        corpora = [corpus.read() for corpus in find_corpora([place])]
    except RecordingError as error:
        raise AgentError(f"--recordings: {error}") from None
    found = RealCallers()
    for corpus in corpora:
        folds = speaker_folds([one.speaker for one in corpus.recordings]) if corpus.folds_by_speaker else {}
        clips = [(one, f"{corpus.name}/{one.path.stem}") for one in corpus.recordings]
        kept = [(one, name) for one, name in clips if fold in (None, folds.get(one.speaker, fold_of(name)))]
        _add(found, corpus.layout, kept)
    if not found.orders and not found.digits and not found.speech:
        raise AgentError(
            f"{place} has no orders, no digits and no speech to call with: list one of these layouts"
        )
    return found


def _add(found: RealCallers, layout: str, kept: Sequence[tuple[Recording, str]]) -> None:
    for one, name in kept:
        if layout == "orders":
            order = Order.from_labels(dict(one.slots))
            found.orders.append(Clip(name, one.path, one.speaker, order))
        elif layout == "digits":
            digit = str(DIGIT_WORDS.index(one.text))
            found.digits.setdefault(one.speaker, []).append(Clip(name, one.path, one.speaker, digit=digit))
        elif layout == "noise":
            found.noises.append(one.path)
        elif layout == "speech":
            found.speech.append(one.path)


def _shuffled(clips: Sequence[Clip]) -> list[Clip]:
    return random.Random(0).sample(sorted(clips, key=lambda clip: clip.name), len(clips))


def _step(request: Request, pcm: Pcm, span: Segment, draws: np.random.Generator) -> SpokenStep:
    wait_s = float(draws.uniform(*WAIT_S[Manner.REPLY]))
    return SpokenStep(Step(request), pcm, span.start_s, span.end_s, (), wait_s)


def trimmed(pcm: Pcm) -> tuple[Pcm, Segment]:
    """A recording without the silence around its speech, and where that lies: some wait for seconds."""
    span = spoken_span(pcm)
    first = max(0, round((span.start_s - LEAD_S) * SAMPLE_RATE_HZ))
    kept = pcm[first : round((span.end_s + TRAIL_S) * SAMPLE_RATE_HZ)]
    return kept, Segment(span.start_s - first / SAMPLE_RATE_HZ, span.end_s - first / SAMPLE_RATE_HZ)


def spoken_span(pcm: Pcm) -> Segment:
    """From the first voice to the last of a recording, float32 [T] at 24 kHz, by the gate with a tail."""
    found = find_segments(at_level(pcm, GATE_LEVEL_DBFS), GATE)
    if not found:
        return Segment(0.0, len(pcm) / SAMPLE_RATE_HZ)
    return Segment(found[0].start_s, found[-1].end_s)


def _digit_turn(clip: Clip) -> Turn:
    pcm = read_audio(clip.path)
    span = spoken_span(pcm)
    word = DIGIT_WORDS[int(clip.digit)]
    return Turn(
        Request(Intent.OTHER, word), pcm, [TimedWord(word, span.start_s, span.end_s)], [], clip=clip.name
    )
