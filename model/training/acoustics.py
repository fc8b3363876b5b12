"""What training does to callers' sound: conditions drawn anew each time, and sounds that want no answer.

Plain paths and numbers, so that a worker process can be handed them; recordings are read when first wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.channel import active_rms, fit, telephone
from model.conditions import (
    BACKGROUND_SPEECH_DB,
    NUM_ROOMS,
    SIDE_TALK_DB,
    apply,
    background_speech,
    draw_condition,
    side_talk,
)
from model.config import SAMPLE_RATE_HZ
from model.echo import draw_echo, echo_of
from model.music import STYLES, music
from model.noise import SoundPool, cough, lasting, throat_clearing, unit_rms
from model.training.bank import ECHO, Stem, Turn
from model.training.folds import Selection
from model.training.recorded_stems import RecordedBank

Pcm = NDArray[np.float32]

MOST_NOISE_S, MOST_SPEECH_S = 600.0, 400.0  # in memory, for each process
DISTRACTORS_PER_STEM = 3.0  # on average, at full hardness; fewer between few turns
FULL_STEM_TURNS = 6
DISTRACTOR_S = (0.8, 2.8)
# Callers on a loudspeaker: in all of their calls the agent hears itself. Louder than `echo.RETURN_DB`, whose
# lower end nobody could hear beside a line's noise.
ECHO_SHARE = 0.38  # of stems, at full hardness
ECHO_DB = (-30.0, -12.0)
ECHOES_PER_STEM, ECHO_S = 3, 4.0
AGENT_ABOVE_CALLER_DB = 3.0  # in level: an echo's return is told against the agent
_EDGE_S = 0.02
_KIND_WEIGHTS = {
    "cough": 2.0, "throat": 1.0, "side talk": 2.0, "background speech": 1.0, "music": 1.0, "noise": 1.5,
}  # fmt: skip


@dataclass(frozen=True)
class Acoustics:
    """How hard training makes callers' lines, from 0 (`channel.telephone`, as v0 was trained) to 1."""

    hardness: float = 0.0
    stores: tuple[Path, ...] = ()  # of aligned corpora, whose noises and speech are drawn from
    selection: Selection = field(default_factory=Selection)

    @property
    def pool(self) -> SoundPool:
        """Recorded noises and other people's speech; both may be empty."""
        return _pool(self.stores, self.selection) if self.hardness > 0 else SoundPool()

    def over_line(self, pcm: Pcm, draws: np.random.Generator, agent: Sequence[Pcm] = ()) -> Pcm:
        """A caller's clean sound as the model hears it: float32 [T] at 24 kHz -> the same.

        With `agent`, sentences float32 [T] each, some of what it says may come back as an echo.
        """
        if self.hardness <= 0:
            return telephone(pcm, draws)
        pool = self.pool
        condition = draw_condition(draws, pool, hardness=self.hardness, has_agent=bool(agent))
        said = _agent_track(len(pcm), agent, draws) if condition.echo is not None else None
        return apply(pcm, condition, agent=said, pool=pool)

    def with_distractors(
        self, stem: Stem, draws: np.random.Generator, agent: Sequence[Pcm] = (), others: Sequence[Stem] = ()
    ) -> Stem:
        """The stem with sounds between its turns that want no answer, as loud as they are beside its speaker.

        Others talk in recordings, or else the speakers of `others` do.
        """
        spoken = [active_rms(turn.pcm, SAMPLE_RATE_HZ) for turn in stem.turns if turn.words]
        if not spoken or self.hardness <= 0:
            return stem
        fullness = min(1.0, len(stem.turns) / FULL_STEM_TURNS)
        pool = self.pool
        speech = pool.speech or [turn.pcm for other in others if other is not stem for turn in other.turns]
        makers = _makers(SoundPool(pool.noises, speech))
        weights = np.array([_KIND_WEIGHTS[kind] for kind in makers])
        sounds: list[tuple[str, Pcm]] = []
        for _ in range(int(draws.poisson(DISTRACTORS_PER_STEM * self.hardness * fullness))):
            kind = list(makers)[int(draws.choice(len(makers), p=weights / weights.sum()))]
            sounds.append((kind, makers[kind](draws)))
        if agent and draws.random() < ECHO_SHARE * self.hardness:
            sounds += [(ECHO, pcm) for pcm in _echoes(agent, draws)]
        turns = list(stem.turns)
        for kind, pcm in sounds:
            turn = Turn(None, _faded(pcm * np.float32(np.median(spoken))), [], [], kind=kind)
            turns.insert(int(draws.integers(len(turns) + 1)), turn)
        return Stem(stem.voice, turns)


@cache
def _pool(stores: tuple[Path, ...], selection: Selection) -> SoundPool:
    noises: list[Pcm] = []
    speech: list[Pcm] = []
    for bank in (RecordedBank(store, selection) for store in stores):
        if bank.layout == "noise":
            _fill(noises, bank, MOST_NOISE_S)
        elif bank.layout in ("words", "speech"):
            _fill(speech, bank, MOST_SPEECH_S)
    return SoundPool(noises, speech)


def _fill(sounds: list[Pcm], bank: RecordedBank, most_s: float) -> None:
    left = round(most_s * SAMPLE_RATE_HZ) - sum(map(len, sounds))
    for turn in bank.sounds():
        if len(turn.pcm) > left:
            return
        sounds.append(turn.pcm)
        left -= len(turn.pcm)


def _agent_track(num_samples: int, agent: Sequence[Pcm], draws: np.random.Generator) -> Pcm:
    """The agent's sentences with pauses between: float32 [num_samples]."""
    parts: list[Pcm] = []
    length = 0
    while length < num_samples:
        pause = np.zeros(round(draws.uniform(0.2, 3.0) * SAMPLE_RATE_HZ), np.float32)
        parts += [pause, agent[int(draws.integers(len(agent)))]]
        length += len(parts[-2]) + len(parts[-1])
    return fit(np.concatenate(parts), num_samples)


Maker = Callable[[np.random.Generator], Pcm]


def _echoes(agent: Sequence[Pcm], draws: np.random.Generator) -> list[Pcm]:
    """Some of the agent's sentences as one loudspeaker gives them back, relative to a speaker as below."""
    echo = replace(draw_echo(draws, num_rooms=NUM_ROOMS), return_db=float(draws.uniform(*ECHO_DB)))
    chosen = [agent[int(n)] for n in draws.integers(len(agent), size=ECHOES_PER_STEM)]
    heard = [echo_of(said[: round(ECHO_S * SAMPLE_RATE_HZ)], echo) for said in chosen]
    return [_at(pcm, echo.return_db + AGENT_ABOVE_CALLER_DB) for pcm in heard]


def _makers(pool: SoundPool) -> dict[str, Maker]:
    """What can be made of what there is; each sound is relative to a speaker whose active RMS is 1."""

    def some(sounds: Sequence[Pcm], draws: np.random.Generator) -> Pcm:
        return lasting(sounds, round(draws.uniform(*DISTRACTOR_S) * SAMPLE_RATE_HZ), draws)

    def played(draws: np.random.Generator) -> Pcm:
        num_samples = round(draws.uniform(*DISTRACTOR_S) * SAMPLE_RATE_HZ)
        return music(STYLES[int(draws.integers(len(STYLES)))], num_samples, SAMPLE_RATE_HZ, draws)

    makers: dict[str, Maker] = {
        "cough": lambda draws: _at(cough(SAMPLE_RATE_HZ, draws), draws.uniform(-6, 6)),
        "throat": lambda draws: _at(throat_clearing(SAMPLE_RATE_HZ, draws), draws.uniform(-8, 2)),
        "music": lambda draws: _at(played(draws), draws.uniform(-20, -6)),
    }
    if pool.speech:
        makers["side talk"] = lambda draws: _at(side_talk(some(pool.speech, draws)), SIDE_TALK_DB)
        makers["background speech"] = lambda draws: _at(
            background_speech(some(pool.speech, draws)), BACKGROUND_SPEECH_DB
        )
    if pool.noises:
        makers["noise"] = lambda draws: _at(some(pool.noises, draws), draws.uniform(-15, 0))
    return makers


def _at(pcm: Pcm, level_db: float) -> Pcm:
    """The sound so loud that its active parts lie at a level; silence stays silence."""
    rms = active_rms(pcm, SAMPLE_RATE_HZ)
    return pcm * np.float32(10 ** (level_db / 20) / rms) if rms > 0 else unit_rms(pcm)


def _faded(pcm: Pcm) -> Pcm:
    """With edges that do not click, and not past full scale."""
    edge = min(round(_EDGE_S * SAMPLE_RATE_HZ), len(pcm) // 2)
    ramp = np.linspace(0, 1, edge, dtype=np.float32)
    pcm = pcm.clip(-1, 1)
    pcm[:edge] *= ramp
    pcm[len(pcm) - edge :] *= ramp[::-1]
    return pcm
