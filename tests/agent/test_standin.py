"""The stand-in converses the same way every time, and takes its time."""

import numpy as np
import pytest

from agent import standin
from agent.clock import ManualClock
from agent.standin import LINE_FRAMES, LINE_TOKEN, StandIn, line_hz
from agent.wire import FRAME_SAMPLES, SAMPLE_RATE_HZ
from telephony.audio import Pcm, dbfs

QUIET = np.zeros(FRAME_SAMPLES, np.float32)
VOICE = np.asarray(0.1 * np.sin(np.arange(FRAME_SAMPLES) * 0.05), np.float32)


class Talk:
    """One slot of a stand-in and everything it said."""

    def __init__(self, **start: object) -> None:
        self.engine = StandIn(2, clock=ManualClock())
        self.engine.start(1, seed=0, **start)  # type: ignore[arg-type]
        self.text: list[int] = []
        self.heard: list[int] = []
        self.pcm: list[Pcm] = []
        self.tokens: list[np.ndarray[tuple[int], np.dtype[np.int16]]] = []

    def hear(self, *frames: Pcm) -> None:
        for frame in frames:
            out = self.engine.step(np.stack([QUIET, frame]), np.array([False, True]))
            assert out.text[0] == out.caller_text[0] == -1 and not out.pcm[0].any()
            self.text.append(int(out.text[1]))
            self.heard.append(int(out.caller_text[1]))
            self.pcm.append(out.pcm[1])
            self.tokens.append(out.tokens[1])

    def lines(self) -> list[int]:
        return [token - LINE_TOKEN for token in self.text if token >= LINE_TOKEN]


def pitch_hz(pcm: Pcm) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / len(pcm))


def test_a_question_of_five_seconds_is_passed_on_after_the_line() -> None:
    talk = Talk()
    talk.hear(*[QUIET] * 20, *[VOICE] * 61, *[QUIET] * 20)
    assert standin.DELEGATE_TOKEN not in talk.text
    talk.hear(*[VOICE] * 62, *[QUIET] * 20)
    assert talk.text.count(standin.DELEGATE_TOKEN) == 1 and talk.lines() == [0, 1, 2]
    assert talk.text.index(standin.DELEGATE_TOKEN) == talk.text.index(LINE_TOKEN + 2) + LINE_FRAMES


def test_it_greets_answers_when_the_caller_ends_and_is_silent_between() -> None:
    talk = Talk()
    talk.hear(*[QUIET] * 20, *[VOICE] * 6, *[QUIET] * 20)
    assert talk.lines() == [0, 1]
    spoken = [bool(pcm.any()) for pcm in talk.pcm]
    answer = 20 + 6 + standin.HANGOVER_FRAMES - 1
    assert [i for i, on in enumerate(spoken) if on] == [
        *range(LINE_FRAMES),
        *range(answer, answer + LINE_FRAMES),
    ]
    assert talk.heard.index(standin.CALLER_TOKEN) == answer
    greeting = np.concatenate(talk.pcm[:LINE_FRAMES])
    assert pitch_hz(greeting) == pytest.approx(line_hz(0), abs=5)
    assert pitch_hz(np.concatenate(talk.pcm[answer : answer + LINE_FRAMES])) == pytest.approx(
        line_hz(1), abs=5
    )
    assert -25 < dbfs(greeting) < -15


def test_it_yields_when_interrupted_and_goes_on_with_the_next_line() -> None:
    talk = Talk()
    talk.hear(*[QUIET] * 4, *[VOICE] * 6, *[QUIET] * 20)
    spoken = [bool(pcm.any()) for pcm in talk.pcm]
    assert not any(spoken[4 + standin.INTERRUPT_FRAMES : 10])
    assert talk.lines() == [0, 1]


def test_with_a_history_it_does_not_greet_and_does_not_repeat_a_line() -> None:
    first = Talk()
    first.hear(*[QUIET] * 20, *[VOICE] * 6, *[QUIET] * 20)
    second = Talk(history=np.stack(first.tokens))
    second.hear(*[QUIET] * 10)
    assert not np.concatenate(second.pcm).any()
    second.hear(*[VOICE] * 6, *[QUIET] * 10)
    assert second.lines() == [2]


def test_a_history_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="17"):
        Talk(history=np.zeros((4, 9), np.int16))


def test_an_echo_returns_what_it_hears() -> None:
    engine = StandIn(1, mode="echo", clock=ManualClock())
    engine.start(0, seed=0)
    np.testing.assert_array_equal(engine.step(VOICE[None], np.array([True])).pcm[0], VOICE)


def test_a_step_lasts_as_long_as_its_active_rows_take() -> None:
    clock = ManualClock()
    engine = StandIn(4, step_s=0.01, row_step_s=0.005, clock=clock)
    for slot in range(4):
        engine.start(slot, seed=0)
    began_s = clock.now()
    engine.step(np.zeros((4, FRAME_SAMPLES), np.float32), np.array([True, False, True, True]))
    assert clock.now() - began_s == pytest.approx(0.025)


def test_forced_tokens_come_out_or_break_the_slot() -> None:
    talk = Talk(history=np.zeros((0, standin.NUM_COLUMNS), np.int16))
    talk.engine.force_text(1, 77)
    talk.hear(QUIET, QUIET)
    assert talk.text == [77, standin.PAD_TOKEN]
    talk.engine.force_text(1, standin.FORCE_NAN)
    talk.hear(QUIET)
    assert np.isnan(talk.pcm[-1]).any()
    talk.engine.force_text(1, standin.FORCE_RAISE)
    with pytest.raises(RuntimeError):
        talk.hear(QUIET)


def test_a_slot_that_was_not_started_cannot_be_stepped() -> None:
    with pytest.raises(AssertionError, match="slot 0"):
        StandIn(1, clock=ManualClock()).step(QUIET[None], np.array([True]))
