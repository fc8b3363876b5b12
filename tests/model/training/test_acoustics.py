"""Distractors stand between turns at their levels; lines are the seed's; echoes are the agent's."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.channel import active_rms, telephone
from model.config import FRAME_SAMPLES
from model.order_line import Intent, Request
from model.training.acoustics import (
    AGENT_ABOVE_CALLER_DB,
    ECHO_SHARE,
    ECHOES_PER_STEM,
    Acoustics,
    Pcm,
)
from model.training.bank import ECHO, Stem, Turn, save_shard
from model.training.tokens_stage import encode_stems, load_stems, save_stems
from model.voices_phones import TimedPhone, TimedWord
from tests.model import tiny

RATE_HZ = 24_000
HARD = Acoustics(hardness=1.0)


def _sound(seed: int, seconds: float = 0.5, level: float = 0.1) -> Pcm:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE_HZ)).astype(np.float32)


def _stem(seed: int, num_turns: int = 6) -> Stem:
    turns = [
        Turn(
            Request(Intent.YES, "yes"),
            _sound(10 * seed + n),
            [TimedWord("yes", 0.05, 0.45)],
            [TimedPhone("y", 0.05, 0.45)],
        )
        for n in range(num_turns)
    ]
    return Stem(f"made/{seed}", turns)


STEM, OTHER = _stem(1), _stem(2)
AGENT = [_sound(99, 1.0)]


def _distractors(acoustics: Acoustics, seeds: range) -> list[Turn]:
    stems = [acoustics.with_distractors(STEM, np.random.default_rng(n), AGENT, [STEM, OTHER]) for n in seeds]
    assert all([t for t in stem.turns if t.request] == STEM.turns for stem in stems), (
        "the turns are kept, in order"
    )
    return [turn for stem in stems for turn in stem.turns if turn.request is None]


def test_every_kind_comes_at_its_level() -> None:
    found = _distractors(HARD, range(24))
    kinds = {turn.kind for turn in found}
    assert kinds == {"cough", "throat", "side talk", "background speech", "music", "echo"}, (
        "no noise: none given"
    )
    spoken = active_rms(STEM.turns[0].pcm, RATE_HZ)

    def levels_db(kind: str) -> list[float]:
        return [20 * np.log10(active_rms(t.pcm, RATE_HZ) / spoken) for t in found if t.kind == kind]

    assert levels_db("side talk") == pytest.approx([-8] * len(levels_db("side talk")), abs=0.7)
    assert levels_db("background speech") == pytest.approx(
        [-15] * len(levels_db("background speech")), abs=0.7
    )
    assert all(len(turn.pcm) <= 4 * RATE_HZ and np.abs(turn.pcm[[0, -1]]).max() < 1e-6 for turn in found)


def test_some_callers_hear_the_agent_from_a_loudspeaker() -> None:
    """Three sentences of one echo, from 12 to 30 dB below the agent."""
    caller = _stem(1, num_turns=1)
    stems = [HARD.with_distractors(caller, np.random.default_rng(n), AGENT) for n in range(60)]
    echoes = [[turn.pcm for turn in stem.turns if turn.kind == ECHO] for stem in stems]
    assert sum(map(bool, echoes)) / 60 == pytest.approx(ECHO_SHARE, abs=0.13)
    spoken = active_rms(caller.turns[0].pcm, RATE_HZ)
    levels_db = []
    for some in filter(None, echoes):
        assert len(some) == ECHOES_PER_STEM
        each = [20 * np.log10(active_rms(pcm, RATE_HZ) / spoken) - AGENT_ABOVE_CALLER_DB for pcm in some]
        assert np.ptp(each) < 1
        levels_db.append(np.mean(each))
    assert min(levels_db) > -31 and max(levels_db) < -11 and np.ptp(levels_db) > 10


def test_the_dial_says_how_many() -> None:
    for acoustics, mean, wide in ((HARD, 3, 0.8), (Acoustics(0.3), 0.9, 0.5)):
        others = [turn for turn in _distractors(acoustics, range(24)) if turn.kind != ECHO]
        assert len(others) / 24 == pytest.approx(mean, abs=wide)
    alone = [HARD.with_distractors(_stem(1, 1), np.random.default_rng(n)) for n in range(40)]
    assert sum(len(stem.turns) - 1 for stem in alone) / 40 == pytest.approx(0.5, abs=0.3)
    assert Acoustics().with_distractors(STEM, np.random.default_rng(0), AGENT) is STEM


def test_at_zero_a_line_is_as_before_and_above_it_is_the_seeds() -> None:
    pcm = np.concatenate([turn.pcm for turn in STEM.turns])
    plain = Acoustics().over_line(pcm, np.random.default_rng(3), AGENT)
    np.testing.assert_array_equal(plain, telephone(pcm, np.random.default_rng(3)))
    lines = [HARD.over_line(pcm, np.random.default_rng(n), AGENT) for n in (3, 3, 4)]
    np.testing.assert_array_equal(lines[0], lines[1])
    assert not np.array_equal(lines[0], lines[2])
    assert {line.shape for line in lines} == {pcm.shape}


def test_recorded_noise_is_used_where_there_is_some(tmp_path: Path) -> None:
    store = tmp_path / "street"
    store.mkdir()
    (store / "SOURCES.md").write_text("Made here.", "utf-8")
    shard = store / "recordings-street-0000.npz"
    save_shard([Stem("recorded/street", [Turn(None, _sound(7, 3.0), [], [], clip="street/a")])], shard)
    account = {"layout": "noise", "clips": {"street/a": ["street", 2, False]}}
    shard.with_suffix(".json").write_text(json.dumps(account), "utf-8")
    acoustics = Acoustics(1.0, (store,))
    assert len(acoustics.pool.noises) == 1
    assert "noise" in {turn.kind for turn in _distractors(acoustics, range(12))}


def test_distractors_are_spans_of_a_token_stem(tmp_path: Path) -> None:
    encoded = encode_stems(tiny.codec(), [STEM, OTHER], seed=5, acoustics=HARD, agent=AGENT)
    save_stems(encoded, tmp_path / "tokens.npz")
    spans = [
        turn for stem in load_stems(tmp_path / "tokens.npz") for turn in stem.turns if turn.request is None
    ]
    assert spans and all(turn.kind for turn in spans)
    for stem in encoded:
        for before, after in zip(stem.turns, stem.turns[1:], strict=False):
            assert before.last < after.first
        idle = set(stem.idle.tolist())
        assert not any(idle & set(range(turn.first, turn.last + 1)) for turn in stem.turns)
    assert all(turn.last - turn.first <= 4 * RATE_HZ / FRAME_SAMPLES for turn in spans)
