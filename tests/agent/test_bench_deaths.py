"""The calls of the survival bench: what is said in them, and when the death is due."""

import numpy as np

from agent.bench_deaths import (
    NO_READ_BACK_S,
    OUTAGE_S,
    QUIET_S,
    VOICE,
    WatchedCaller,
    chat_steps,
    order_request,
    steps_of,
)
from agent.energy_gate import Pcm
from agent.evaluation.script import Manner
from model.order_line import ORDER_OPENERS, PHRASINGS, Intent, describe
from model.voices import HELD_OUT_VOICES
from telephony.endpoint import FRAME_SAMPLES
from tests.agent.evaluation.scenes import channel


def intents(number: int) -> list[Intent | None]:
    requests = [spoken.step.request for spoken in steps_of(number)]
    return [request.intent if request else None for request in requests]


def test_the_caller_is_one_that_the_model_was_not_trained_on() -> None:
    assert VOICE.name in {voice.name for voice in HELD_OUT_VOICES}
    steps = [*steps_of(0), *steps_of(1), *steps_of(2), *steps_of(3), *chat_steps()]
    for request in (spoken.step.request for spoken in steps):
        assert request is not None
        if request.order is None:
            assert request.text in PHRASINGS[request.intent].held_out
        else:
            assert any(request.text.startswith(opener) for opener in ORDER_OPENERS.held_out)


def test_orders_name_every_slot() -> None:
    for number in range(6):
        request = order_request(number)
        assert request.order is not None
        assert request.text.lower().endswith(describe(request.order).lower())
        assert request.order.size and request.order.milk


def test_the_question_waits_for_the_death_and_both_kinds_are_asked() -> None:
    assert intents(0) == [Intent.ORDER, Intent.YES]
    assert intents(1) == [Intent.ORDER, Intent.REPEAT, Intent.YES]
    assert [spoken.step.manner for spoken in steps_of(1)] == [Manner.REPLY, Manner.CUE, Manner.REPLY]


def test_there_is_enough_to_say_while_redis_is_away() -> None:
    steps = chat_steps()
    assert sum(spoken.end_s + 2.5 for spoken in steps[1:]) > OUTAGE_S + 10  # an answer takes that long


def first_answered_s(agent: Pcm) -> float | None:
    """When the caller noticed that its order was answered."""
    caller = WatchedCaller(steps_of(0))
    for frame in agent.reshape(-1, FRAME_SAMPLES):
        caller(frame)
        if caller.is_answered.is_set():
            return caller.script.now_s
    return None


def test_the_death_is_due_when_the_read_back_is_over() -> None:
    answered_s = first_answered_s(channel([(0.4, 2.0), (6.0, 9.0)], 24.0))
    assert answered_s is not None and abs(answered_s - 9.0 - QUIET_S) < 0.17


def test_without_a_read_back_the_death_comes_all_the_same() -> None:
    answered_s = first_answered_s(np.zeros(24 * 24_000, np.float32))
    assert answered_s is not None and abs(answered_s - NO_READ_BACK_S) < 0.1


def test_it_hangs_up_when_told() -> None:
    caller = WatchedCaller(steps_of(0))
    silence = np.zeros(FRAME_SAMPLES, np.float32)
    assert caller(silence) is not None
    caller.hang_up()
    assert caller(silence) is None
