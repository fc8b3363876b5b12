"""The cascade as an engine: a whole call without a clock, refusals, a failure that ends one call alone."""

import random

import numpy as np
import pytest

from agent.cascade.ear import Ear
from agent.cascade.engine import Cascade
from agent.evaluation.judge import Judge
from agent.evaluation.offline import OfflineCall, call_offline
from agent.evaluation.outcome import judge_call, place_turns
from agent.evaluation.script import Script, Step, speak_step
from agent.settings import CascadeSettings
from agent.wire import FRAME_SAMPLES
from model.control import CallProfile
from model.errors import PromptError
from model.phrasings import Intent
from model.requests import Request
from model.tokenizer import TextTokenizer
from model.voices import SAMPLE_RATE_HZ
from tests.agent.cascade.conftest import CALLER

SILENCE = np.zeros((1, FRAME_SAMPLES), np.float32)
ALL = np.ones(1, np.bool_)


@pytest.fixture(scope="module")
def engine(tokens: TextTokenizer, ear: Ear) -> Cascade:
    return Cascade(1, CascadeSettings(), tokens, [ear])


def test_a_caller_is_greeted_answered_and_hung_up_on(engine: Cascade) -> None:
    asked = [
        Step(Request(Intent.WHERE, "where is the shop")),
        Step(Request(Intent.GOODBYE, "thank you goodbye")),
    ]
    spoken = [
        speak_step(step, CALLER, random.Random(1), rate=1.0, pitch=1.0, level_dbfs=-24.0) for step in asked
    ]
    done: list[OfflineCall] = []
    call_offline(engine, [Script(0, CALLER, tuple(spoken))], 40.0, done.append)
    caller, agent = done[0].channels()
    outcome = judge_call(0, "", place_turns(done[0].caller.said, caller), agent, Judge())
    assert outcome.is_greeting_right, outcome.greeting_heard
    asked_where, said_bye = outcome.turns
    assert asked_where.is_right, asked_where
    assert len(agent) / SAMPLE_RATE_HZ < said_bye.end_s + 6.0, "it says goodbye and hangs up: nobody waits"
    # Not before the silence that ends a turn; how much later is a matter of this machine's load.
    gaps_s = [turn.gap_s for turn in outcome.turns]
    assert all(gap_s is not None and gap_s > 0.25 for gap_s in gaps_s), gaps_s


def test_a_call_that_moves_here_goes_on_and_is_not_greeted(engine: Cascade) -> None:
    engine.start(0, seed=1)
    rows = np.stack([engine.step(SILENCE, ALL).tokens[0] for _ in range(30)])
    engine.stop(0)
    assert rows.shape == (30, 3)
    engine.start(0, seed=1, history=rows)
    assert max(np.abs(engine.step(SILENCE, ALL).pcm).max() for _ in range(20)) == 0.0
    engine.stop(0)


def test_what_it_cannot_be_is_refused(engine: Cascade) -> None:
    for profile in (CallProfile(voice="anna"), CallProfile(role="You sell tea.")):
        with pytest.raises(PromptError, match="OFFHOOK_"):
            engine.start(0, seed=1, profile=profile)
    with pytest.raises(PromptError, match="rows hold 3"):
        engine.start(0, seed=1, history=np.zeros((4, 17), np.int16))


def test_a_slot_that_fails_gives_nan_and_the_next_call_is_well(
    engine: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.start(0, seed=1)
    hearing, _talking = engine._lanes[0]
    monkeypatch.setattr(hearing, "take", lambda now_s: 1 / 0)
    assert np.isnan(engine.step(SILENCE, ALL).pcm).all()
    monkeypatch.undo()
    engine.stop(0)
    engine.start(0, seed=2)
    assert np.isfinite(engine.step(SILENCE, ALL).pcm).all()
    engine.stop(0)
