"""A model that follows the script is right in every figure; one that is late, rash or goes on is not."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.config import SamplingConfig
from model.lm import Lm
from model.tokenizer import TextTokenizer, load_text_tokenizer
from model.training.call_writer import Call
from model.training.closed_loop import Rehearsal, ScriptedCall, rehearsals
from model.training.dialogues import Scriptwriter
from tests.model import tiny
from tests.model.training import scripts

SILENCE = np.zeros(scripts.NUM_CODEBOOKS, np.int64)


@pytest.fixture(scope="module")
def tokenizer(alphabet_folder: Path) -> TextTokenizer:
    return load_text_tokenizer(alphabet_folder)


@pytest.fixture(scope="module")
def calls(tokenizer: TextTokenizer) -> list[ScriptedCall]:
    writer = Scriptwriter(scripts.library(), tokenizer, 480)
    return rehearsals(writer, [scripts.stem(n) for n in range(3)], random.Random(0), 8)


class _Played(Rehearsal):
    """A rehearsal whose model is a function of the call."""

    late, rash, deaf, finishes = 0, False, False, False

    def _live(self, lm: Lm) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        texts = np.stack([scripted.call.text for scripted in self.calls])
        texts = np.roll(texts, self.late, axis=1)
        quiet = np.stack([(scripted.call.agent == 0).all(0) for scripted in self.calls])
        if self.rash:
            for row, scripted in enumerate(self.calls):
                for turn in scripted.turns:
                    texts[row, min(turn.first + 4, 479)] = self.tokenizer.encode("hello")[0]
        if self.finishes:
            for row, scripted in enumerate(self.calls):
                for line in scripted.lines:
                    quiet[row, line.start : line.end] = False
        return texts, np.zeros_like(quiet) if self.deaf else quiet


def _played(calls: list[ScriptedCall], tokenizer: TextTokenizer) -> _Played:
    return _Played(calls, tokenizer, SILENCE, SamplingConfig())


def test_who_follows_the_script_is_right(calls: list[ScriptedCall], tokenizer: TextTokenizer) -> None:
    figures = _played(calls, tokenizer)(tiny.lm())
    assert figures["loop_right"] == figures["loop_yield_share"] == 1
    assert figures["loop_early_share"] == 0 and figures["loop_gap_frames"] in (1, 2, 3, 4)


def test_each_fault_shows_in_its_own_figure(calls: list[ScriptedCall], tokenizer: TextTokenizer) -> None:
    good = _played(calls, tokenizer)(tiny.lm())
    late, rash, deaf = (_played(calls, tokenizer) for _ in range(3))
    late.late, rash.rash, deaf.deaf = 3, True, True
    assert late(tiny.lm())["loop_gap_frames"] == good["loop_gap_frames"] + 3
    assert rash(tiny.lm())["loop_early_share"] > 0.5
    assert deaf(tiny.lm()) | {"loop_yield_share": 1} == good and deaf(tiny.lm())["loop_yield_share"] == 0


def test_who_is_silent_because_the_line_is_over_has_not_yielded(
    calls: list[ScriptedCall], tokenizer: TextTokenizer
) -> None:
    stubborn = _played(calls, tokenizer)
    stubborn.finishes = True
    assert stubborn(tiny.lm())["loop_yield_share"] == 0


def test_a_model_lives_through_the_calls(tokenizer: TextTokenizer, calls: list[ScriptedCall]) -> None:
    """An untrained one is right nowhere; what the runtime forces it takes."""
    torch.manual_seed(0)
    lm = tiny.lm(tiny.model_config(tokenizer.card).lm)
    short = [
        ScriptedCall(_cut(scripted, 60), scripted.lines, [t for t in scripted.turns if t.last < 60])
        for scripted in calls[:2]
    ]
    rehearsal = Rehearsal(short, tokenizer, SILENCE, SamplingConfig(text_temperature=0.0))
    short[0].call.forced[20] = True
    short[0].call.text[20] = tokenizer.nobody
    texts, _ = rehearsal._live(lm)
    assert texts.shape == (2, 60) and texts[0, 20] == tokenizer.nobody
    assert rehearsal(lm).get("loop_right", 0.0) == 0


def _cut(scripted: ScriptedCall, length: int) -> Call:
    call = scripted.call
    return replace(
        call,
        agent=call.agent[:, :length],
        caller=np.minimum(call.caller[:, :length], 31),
        text=call.text[:length].copy(),
        transcript=call.transcript[:length],
        forced=call.forced[:length].copy(),
        timed=call.timed[:length],
        end=length,
    )


def test_a_model_that_is_told_how_callers_speak_is_rehearsed_too(tokenizer: TextTokenizer) -> None:
    """It lives through calls whose callers have a stream more."""
    own = tiny.model_config(tokenizer.card).lm
    config = replace(own, n_q=own.n_q + 1, delays=(*own.delays, 0), context=480)
    writer = Scriptwriter(scripts.library(), tokenizer, 120, hears_manner=True)
    calls = rehearsals(writer, [scripts.stem()], random.Random(0), 1)
    assert len(calls[0].call.caller) == config.caller_q
    figures = Rehearsal(calls, tokenizer, SILENCE, SamplingConfig())(tiny.lm(config))
    assert all(0 <= value <= 1 for name, value in figures.items() if "gap" not in name)
