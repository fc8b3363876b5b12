"""Calls without a telephone: the loop is closed, requests of the model's are obeyed, slots are used again."""

import random

import numpy as np
import pytest

from agent.duplex import LEAST_FRAMES, QUIET_FRAMES
from agent.energy_gate import Pcm
from agent.evaluation.judge import Judge
from agent.evaluation.offline import OfflineCall, call_offline, over_the_wire
from agent.evaluation.outcome import judge_call, place_turns
from agent.evaluation.script import Script, ScriptedCaller, Step, speak_step
from model.engine import BUILTIN, Engine
from model.order_line import Intent, Request
from model.voices import HELD_OUT_VOICES
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ
from tests.agent.evaluation.parties import HANG_UP, Manners, Parties
from tests.signals import find_tone, tone

SILENCE = np.zeros(FRAME_SAMPLES, np.float32)
VOICE = tone(300, FRAME_SAMPLES / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)


def one_question(number: int) -> Script:
    """A caller who asks for the hours and waits for the answer."""
    asked = Step(Request(Intent.HOURS, "what are your opening hours"))
    spoken = speak_step(asked, HELD_OUT_VOICES[0], random.Random(number), rate=1.0, pitch=1.0, level_dbfs=-24)
    return Script(number, HELD_OUT_VOICES[0], (spoken,))


def offline_call() -> OfflineCall:
    return OfflineCall(Script(0, HELD_OUT_VOICES[0], ()), ScriptedCaller(()), 60.0)


def hear(call: OfflineCall, pcm: Pcm, text: int = 0) -> int | None:
    return call.hear(pcm, text, -1, Parties(Manners()))


def test_the_wire_keeps_time_and_a_telephone_tone_and_nothing_above() -> None:
    low, high = (over_the_wire(tone(hz, 0.5, SAMPLE_RATE_HZ)) for hz in (1000, 6000))
    assert len(low) == len(high) == SAMPLE_RATE_HZ // 2
    assert find_tone(low, SAMPLE_RATE_HZ) == pytest.approx(1000, abs=5)
    assert np.abs(high[2000:-2000]).max() < 0.02 * np.abs(low).max()


def test_a_request_is_obeyed_once_and_only_when_the_model_has_finished() -> None:
    call = offline_call()
    assert hear(call, VOICE, HANG_UP) is None
    told = [hear(call, VOICE) for _ in range(LEAST_FRAMES + 3)]
    assert told == [None] * len(told), "it still speaks"
    quiet = [hear(call, SILENCE) for _ in range(3 * QUIET_FRAMES)]
    assert quiet.count(HANG_UP) == 1 and quiet.index(HANG_UP) >= QUIET_FRAMES - 1


def test_a_decoder_whose_silence_is_a_constant_is_silent_all_the_same() -> None:
    call, offset = offline_call(), np.float32(0.016)
    assert hear(call, VOICE + offset, HANG_UP) is None
    assert HANG_UP in [hear(call, SILENCE + offset) for _ in range(30)]


def test_a_call_ends_at_its_limit() -> None:
    call = OfflineCall(Script(0, HELD_OUT_VOICES[0], ()), ScriptedCaller(one_question(0).steps), 0.2)
    assert [call.say() is None for _ in range(4)] == [False, False, False, True]


def test_more_callers_than_slots_are_all_answered() -> None:
    engine = Engine.load(BUILTIN, 2)
    done: list[OfflineCall] = []
    call_offline(engine, [one_question(number) for number in range(3)], 30.0, done.append)
    assert sorted(call.script.number for call in done) == [0, 1, 2]
    judge = Judge()
    for call in done:
        caller, agent = call.channels()
        assert len(caller) == len(agent)
        (placed,) = place_turns(call.caller.said, caller)
        outcome = judge_call(call.script.number, "", [placed], agent, judge)
        assert outcome.is_greeting_right, outcome.greeting_heard
        (turn,) = outcome.turns
        assert turn.gap_s is not None and -0.2 < turn.gap_s < 2.0
    engine.start(0, seed=1)  # every slot is free again
    engine.start(1, seed=1)
