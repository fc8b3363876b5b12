"""One loop for calls without a telephone: slots are used again, what the model asks for is done."""

import random

import numpy as np

from agent.evaluation.call_loop import hold_calls
from agent.evaluation.offline import OfflineCall
from agent.evaluation.script import Script, ScriptedCaller, Step, speak_step
from agent.evaluation.virtual import VirtualCall
from model.order_line import UNKNOWN, Intent, Request
from model.voices import HELD_OUT_VOICES
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ
from tests.agent.evaluation.parties import HANG_UP, NOBODY, Manners, Parties
from tests.signals import tone

SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


def test_a_request_is_obeyed_once_when_the_model_has_finished() -> None:
    told_by = Parties(Manners())
    call = VirtualCall(0, lambda heard: SILENCE, 60.0)
    voice = tone(300, FRAME_SAMPLES / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
    told = [call.hear(voice, HANG_UP, -1, told_by)]
    told += [call.hear(voice, 3, -1, told_by) for _ in range(20)]
    assert told == [None] * 21, "it still speaks"
    told = [call.hear(SILENCE, 3, -1, told_by) for _ in range(30)]
    assert told.count(HANG_UP) == 1


def test_slots_are_used_again_and_a_hang_up_ends_a_call() -> None:
    engine = Parties(Manners(greeting="Hello."), 2)
    done: list[VirtualCall] = []
    calls = (VirtualCall(number, lambda heard: SILENCE, 0.4) for number in range(5))
    hold_calls(engine, engine, calls, done.append)
    assert sorted(call.number for call in done) == [0, 1, 2, 3, 4] and engine.num_started == 5
    assert not any(call.agent.is_hung_up for call in done)
    engine.hangs_up_at = 2
    hold_calls(engine, engine, iter([VirtualCall(9, lambda heard: SILENCE, 8.0)]), done.append)
    assert done[-1].agent.is_hung_up and len(done[-1].channels()[0]) < 8 * SAMPLE_RATE_HZ


def test_a_transfer_finds_nobody() -> None:
    engine = Parties(Manners(greeting="Hello."))
    engine.transfers_at = 2
    hold_calls(engine, engine, iter([VirtualCall(0, lambda heard: SILENCE, 6.0)]), lambda call: None)
    assert engine.forced == [NOBODY]


def test_a_question_that_goes_to_others_is_answered_by_the_fallback() -> None:
    engine = Parties(Manners(greeting="Hello."))
    engine.delegates_at = 2
    hold_calls(engine, engine, iter([VirtualCall(0, lambda heard: SILENCE, 6.0)]), lambda call: None)
    assert engine.told == [[1] * len(UNKNOWN.text.split())]


def test_calls_that_end_in_one_frame_make_room_for_those_that_wait() -> None:
    """All slots empty at once is not the end: of both kinds of call."""
    engine, done = Parties(Manners(greeting="Hello."), 2), list[object]()
    script = Script(0, HELD_OUT_VOICES[0], ())
    offline = (OfflineCall(script, ScriptedCaller(()), 0.4) for _ in range(5))
    hold_calls(engine, engine, offline, done.append)
    virtual = (VirtualCall(number, lambda heard: SILENCE, 0.4) for number in range(5))
    hold_calls(engine, engine, virtual, done.append)
    assert len(done) == 10 and engine.num_started == 10


def test_what_is_asked_offline_is_done_as_well() -> None:
    engine = Parties(Manners(greeting="Hello."))
    engine.delegates_at = 2
    step = speak_step(
        Step(Request(Intent.STATUS, "is my order ready")), HELD_OUT_VOICES[0], random.Random(0),
        rate=1.0, pitch=1.0, level_dbfs=-24,
    )  # fmt: skip
    script = Script(0, HELD_OUT_VOICES[0], (step,))
    call = OfflineCall(script, ScriptedCaller(script.steps), 6.0)
    hold_calls(engine, engine, iter([call]), lambda call: None)
    assert engine.told == [[1] * len(UNKNOWN.text.split())]
