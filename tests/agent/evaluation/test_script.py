"""A scripted caller says the right things at the right moments."""

import random

import numpy as np
import pytest

from agent.energy_gate import Pcm
from agent.evaluation.script import (
    LAST_WORD_S,
    NO_ANSWER_S,
    SILENCE_S,
    TRANSFER_REPLY_S,
    Manner,
    ScriptedCaller,
    SpokenStep,
    Step,
    draw_steps,
    make_script,
    speak_step,
)
from agent.evaluation.segments import speech_segments
from model.order_line import PHRASINGS, Intent, Request
from model.voices import HELD_OUT_VOICES, Voice
from telephony.endpoint import FRAME_SAMPLES
from tests.agent.evaluation.scenes import RATE_HZ, channel

YES, PERSON = Request(Intent.YES, "yes"), Request(Intent.PERSON, "a person please")


def spoken(request: Request | None = YES, manner: Manner = Manner.REPLY, wait_s: float = 0.5) -> SpokenStep:
    """A step of one second of buzz, or silence without a request."""
    pcm = channel([(0, 1.0)], 1.0) if request else np.zeros(0, np.float32)
    return SpokenStep(Step(request, manner), pcm, 0.0, len(pcm) / RATE_HZ, (), wait_s)


def onsets(steps: list[SpokenStep], agent: list[tuple[float, float]], seconds: float) -> list[float]:
    """When the caller begins each of its steps, in seconds, while it hears this agent."""
    caller = ScriptedCaller(steps)
    for frame in channel(agent, seconds).reshape(-1, FRAME_SAMPLES):
        if caller(frame) is None:
            break
    return [turn.frame * 0.08 for turn in caller.said]


def test_it_speaks_after_the_greeting_and_after_each_answer() -> None:
    times = onsets([spoken(), spoken(wait_s=1.0)], [(0.4, 2.0), (3.9, 6.0)], 12.0)
    assert times == pytest.approx([2.5, 7.0], abs=0.13)


def test_pauses_inside_a_line_are_waited_through() -> None:
    assert onsets([spoken(wait_s=0.8)], [(0.4, 1.0), (1.5, 2.4)], 8.0) == pytest.approx([3.2], abs=0.13)


def test_it_interrupts_while_the_agent_speaks() -> None:
    steps = [spoken(), spoken(manner=Manner.CUT_IN, wait_s=0.7)]
    assert onsets(steps, [(0.4, 2.0), (3.9, 8.0)], 12.0)[1] == pytest.approx(4.6, abs=0.13)


def test_a_line_too_short_to_interrupt_does_not_hang_the_script() -> None:
    steps = [spoken(), spoken(manner=Manner.CUT_IN, wait_s=0.9)]
    assert onsets(steps, [(0.4, 2.0), (3.9, 4.3)], 12.0)[1] == pytest.approx(5.3, abs=0.2)


def test_without_an_answer_it_goes_on() -> None:
    first, second = onsets([spoken(), spoken()], [(0.4, 2.0)], 16.0)
    assert second - first - 1.0 == pytest.approx(NO_ANSWER_S, abs=0.2)


def test_a_silent_step_waits_to_be_asked() -> None:
    steps = [spoken(), spoken(None, Manner.SILENCE, 0.4), spoken()]
    asked = onsets(steps, [(0.4, 2.0), (3.9, 5.0), (10.0, 11.0)], 16.0)
    assert asked == pytest.approx([2.5, 5.4, 11.5], abs=0.2)
    never = onsets(steps, [(0.4, 2.0), (3.9, 5.0)], 24.0)
    assert never[2] - never[1] == pytest.approx(SILENCE_S, abs=0.2)


def test_a_cued_step_waits_for_its_cue_however_long() -> None:
    caller = ScriptedCaller([spoken(), spoken(manner=Manner.CUE, wait_s=0.6)])
    answered: list[float] = []
    for frame in channel([(0.4, 2.0), (3.9, 5.0)], 20.0).reshape(-1, FRAME_SAMPLES):
        caller(frame)
        if caller.answered_for_s >= 0.9:
            answered.append(caller.now_s)
        if len(answered) == 100:
            caller.cue()
    assert answered[0] == pytest.approx(5.9, abs=0.13)
    assert len(caller.said) == 2
    assert caller.said[1].frame * 0.08 == pytest.approx(answered[99] + 0.6, abs=0.09)


def test_an_answer_has_not_come_before_the_agent_spoke_again() -> None:
    caller = ScriptedCaller([spoken(), spoken(manner=Manner.CUE)])
    for frame in channel([(0.4, 2.0)], 12.0).reshape(-1, FRAME_SAMPLES):
        caller(frame)
        assert caller.answered_for_s == 0
    assert len(caller.said) == 1


def test_after_a_transfer_it_waits_for_the_second_line() -> None:
    times = onsets([spoken(PERSON), spoken(wait_s=0.5)], [(0.4, 2.0), (3.9, 5.0)], 12.0)
    assert times[1] - 5.0 == pytest.approx(TRANSFER_REPLY_S, abs=0.13)


def test_an_answer_longer_than_its_patience_is_not_spoken_over() -> None:
    times = onsets([spoken(PERSON), spoken(wait_s=0.5)], [(0.4, 2.0), (3.9, 6.0), (6.5, 11.0)], 16.0)
    assert times[1] - 11.0 == pytest.approx(TRANSFER_REPLY_S, abs=0.13)


def test_it_hangs_up_after_the_last_answer_or_without_one() -> None:
    def frames_until_end(agent: list[tuple[float, float]]) -> int:
        caller = ScriptedCaller([spoken()])
        heard = channel(agent, 24.0).reshape(-1, FRAME_SAMPLES)
        return next(i for i, frame in enumerate(heard) if caller(frame) is None)

    assert frames_until_end([(0.4, 2.0), (3.9, 5.0)]) * 0.08 == pytest.approx(7.0, abs=0.2)
    assert frames_until_end([(0.4, 2.0)]) * 0.08 == pytest.approx(3.5 + LAST_WORD_S, abs=0.2)


def test_what_it_says_is_the_step_whole() -> None:
    caller, said = ScriptedCaller([spoken()]), []
    for frame in channel([(0.4, 2.0)], 6.0).reshape(-1, FRAME_SAMPLES):
        said.append(caller(frame))
    sound = np.concatenate([frame for frame in said if frame is not None])
    first = (caller.said[0].frame - 1) * FRAME_SAMPLES
    np.testing.assert_array_equal(sound[first : first + RATE_HZ], spoken().pcm)


def test_a_run_has_the_promised_mixture() -> None:
    scripts = [draw_steps(random.Random(f"0/{number}"), number) for number in range(20)]
    heard_out = [
        step
        for steps in scripts
        for step, after in zip(steps, [*steps[1:], None], strict=True)
        if step.request and (after is None or after.manner is not Manner.CUT_IN)
    ]
    assert len(heard_out) >= 100
    assert np.mean([s.request is not None and s.request.intent is Intent.ORDER for s in heard_out]) >= 0.4
    assert np.mean([step.has_pause for step in heard_out]) >= 0.3
    assert sum(step.manner is Manner.CUT_IN for steps in scripts for step in steps) >= 40
    assert any(step.manner is Manner.SILENCE for steps in scripts for step in steps)


def test_callers_are_held_out_voices_with_held_out_phrasings() -> None:
    for number in range(4):
        script = make_script(number, seed=0)
        assert script.voice in HELD_OUT_VOICES
        for one in script.steps:
            if one.step.request and one.step.request.intent is Intent.HOURS:
                assert any(one.step.request.text.endswith(text) for text in PHRASINGS[Intent.HOURS].held_out)


def silence_at(pcm: Pcm, start_s: float, end_s: float) -> bool:
    return not pcm[round((start_s + 0.01) * RATE_HZ) : round((end_s - 0.01) * RATE_HZ)].any()


def test_a_pause_is_silence_at_an_unfinished_point() -> None:
    request = Request(Intent.PERSON, "can I talk to a human")
    one = speak_step(
        Step(request, has_pause=True),
        Voice("flite", "kal"),
        random.Random(0),
        rate=1.0,
        pitch=1.0,
        level_dbfs=-25.0,
    )
    (pause,) = one.pauses
    assert 0.4 <= pause.duration_s <= 1.0 and silence_at(one.pcm, pause.start_s, pause.end_s)
    assert one.start_s < pause.start_s and pause.end_s < one.end_s <= len(one.pcm) / RATE_HZ
    assert speech_segments(one.pcm)[0].start_s == pytest.approx(one.start_s, abs=0.12)
