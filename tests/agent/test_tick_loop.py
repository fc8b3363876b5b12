"""The law of the tick, on a clock that the test moves."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from agent import standin
from agent.clock import ManualClock
from agent.standin import StandIn, StandInOutput
from agent.tick_loop import GRACE_S, MAX_FRUITLESS_STEPS, Force, Start, Stop, TickLoop
from agent.wire import FRAME_SAMPLES, NO_HISTORY, NO_SPEECH, PERIOD_S, CallerFrame, Fault, Reply, Say, Silence
from model.control import CallProfile
from model.errors import PromptError

AHEAD_S = 0.010  # frames arrive so long before their tick


class ArrivingClock(ManualClock):
    """Lets things happen at their times while the engine thread sleeps or steps."""

    def __init__(self) -> None:
        super().__init__(start_s=8.01)
        self._coming: list[tuple[float, Callable[[], None]]] = []

    def at(self, when_s: float, act: Callable[[], None]) -> None:
        self._coming.append((when_s, act))
        self._coming.sort(key=lambda item: item[0])

    def sleep_until(self, deadline_s: float) -> None:
        while self._coming and self._coming[0][0] <= deadline_s:
            when_s, act = self._coming.pop(0)
            super().sleep_until(when_s)
            act()
        super().sleep_until(deadline_s)


class Rig:
    """A tick loop over an echoing stand-in, and what came out of it."""

    def __init__(self, num_slots: int = 2, step_s: float = 0.02) -> None:
        self.clock = ArrivingClock()
        self.step_s = step_s
        self.stepper = StandIn(num_slots, mode="echo", step_s=0.0, row_step_s=0.0, clock=self.clock)
        self.step_times: dict[int, float] = {}  # step number -> its own duration
        self.num_steps = 0
        self.replies: list[Reply] = []
        self.faults: list[Fault] = []
        self.starts: list[tuple[int, Exception | None]] = []
        self.loop = TickLoop(self, self, self.clock)
        self.first_s = self.loop.tick_s

    # the stepper: the stand-in, with steps as long as the test wants
    @property
    def num_slots(self) -> int:
        return self.stepper.num_slots

    def start(self, slot: int, **call: object) -> None:
        self.stepper.start(slot, **call)  # type: ignore[arg-type]

    def force_text(self, slot: int, token: int) -> None:
        self.stepper.force_text(slot, token)

    def say(self, slot: int, tokens: Sequence[int]) -> None:
        self.stepper.say(slot, tokens)

    def silence(self, slot: int, frames: int) -> None:
        self.stepper.silence(slot, frames)

    def age(self, frames: int) -> None:
        self.stepper.age(frames)

    def stop(self, slot: int) -> None:
        self.stepper.stop(slot)

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> StandInOutput:
        duration_s = self.step_times.get(self.num_steps, self.step_s)
        self.num_steps += 1
        self.clock.sleep_until(self.clock.now() + duration_s)
        return self.stepper.step(pcm, active)

    # the outlet
    def started(self, command: Start, seconds: float, error: Exception | None) -> None:
        self.starts.append((command.generation, error))

    def deliver(self, replies: list[Reply]) -> None:
        self.replies += replies

    def failed(self, fault: Fault) -> None:
        self.faults.append(fault)

    # the test's hands
    def call(self, slot: int = 0, generation: int = 1) -> None:
        self.loop.submit(Start(slot, generation, 0, NO_HISTORY, NO_SPEECH))

    def arrive(self, number: int, slot: int = 0, generation: int = 1, late_s: float = 0.0) -> None:
        """Frame n comes just before tick n + 1 (tick 0 starts the calls)."""
        when_s = self.first_s + (number + 1) * PERIOD_S - AHEAD_S + late_s
        pcm = np.full(FRAME_SAMPLES, number, np.int16)
        self.clock.at(when_s, lambda: self.loop.push(CallerFrame(slot, generation, number, pcm)))

    def run_for(self, num_periods: float) -> None:
        end_s = self.clock.now() + num_periods * PERIOD_S
        while self.clock.now() < end_s:
            self.loop.tick()

    def numbers(self, slot: int = 0) -> list[int]:
        return [reply.number for reply in self.replies if reply.slot == slot]


def test_frames_are_answered_in_order_each_at_its_tick() -> None:
    rig = Rig()
    rig.call()
    for number in range(5):
        rig.arrive(number)
    rig.run_for(7)
    assert rig.numbers() == [0, 1, 2, 3, 4]
    for reply in rig.replies:
        assert reply.collected_s == pytest.approx(rig.first_s + (reply.number + 1) * PERIOD_S)
        assert reply.delivered_s - reply.collected_s == pytest.approx(0.02)
        assert np.all(reply.pcm == reply.number)
    counts = rig.loop.counts
    assert (counts.steps, counts.catch_ups, counts.deadline_misses) == (5, 0, 0)
    assert list(counts.tick_seconds) == pytest.approx([0.02] * 5)


def test_the_grid_is_absolute_and_can_be_shifted() -> None:
    clock = ManualClock(start_s=8.03)
    loop = TickLoop(StandIn(1), Rig(), clock, phase_s=0.04)
    assert (loop.tick_s - 0.04) / PERIOD_S == pytest.approx(round((loop.tick_s - 0.04) / PERIOD_S))
    assert loop.tick_s > 8.03


def test_a_slot_without_a_frame_idles_and_its_late_frame_is_caught_up_once() -> None:
    rig = Rig()
    rig.call(0, 1)
    rig.call(1, 2)
    for number in range(6):
        rig.arrive(number, late_s=0.03 if number == 2 else 0.0)
        rig.arrive(number, slot=1, generation=2)
    rig.run_for(7)
    assert rig.numbers(0) == rig.numbers(1) == [0, 1, 2, 3, 4, 5]
    when = {(r.slot, r.number): round((r.collected_s - rig.first_s) / PERIOD_S) for r in rig.replies}
    assert when[0, 2] == when[0, 3] == 4  # at the tick after the missed one, both
    assert [when[1, n] for n in range(6)] == [1, 2, 3, 4, 5, 6]  # the neighbour never noticed
    counts = rig.loop.counts
    assert (counts.catch_ups, counts.frames_missing, rig.loop.num_frames_dropped) == (1, 1, 0)


def test_a_tick_waits_a_moment_for_who_was_never_late_and_for_nobody_else() -> None:
    rig = Rig()
    rig.call(0, 1)
    rig.call(1, 2)
    for number in range(8):
        rig.arrive(number, late_s=AHEAD_S + 0.007 if number == 2 else 0.0)
        if number not in (4, 5):
            rig.arrive(number, slot=1, generation=2)
    rig.run_for(10)
    assert rig.numbers(0) == list(range(8)) and rig.loop.counts.catch_ups == 0
    waits_s = [r.collected_s - (rig.first_s + (r.number + 1) * PERIOD_S) for r in rig.replies if r.slot == 0]
    assert waits_s[2] == pytest.approx(0.008)  # polled every 2 ms
    assert waits_s[4] == pytest.approx(GRACE_S), "in vain, once"
    assert [waits_s[n] for n in (0, 1, 3, 5, 6, 7)] == pytest.approx([0.0] * 6)


def test_a_step_that_leaves_no_time_leaves_none_to_wait() -> None:
    rig = Rig(step_s=0.078)
    rig.call(0, 1)
    rig.call(1, 2)
    for number in range(4):
        rig.arrive(number)
        if number < 2:
            rig.arrive(number, slot=1, generation=2)
    rig.run_for(6)
    assert rig.loop.counts.deadline_misses == 0 and rig.numbers(0) == [0, 1, 2, 3]


@pytest.mark.parametrize("late_s", [0.0, AHEAD_S + 0.001])  # before the tick, and while it waits
def test_a_tick_of_two_steps_waits_out_of_the_time_that_both_leave(late_s: float) -> None:
    rig = Rig(step_s=0.036)
    rig.call(0, 1)
    rig.call(1, 2)
    for number in range(6):
        rig.arrive(number, late_s={2: 0.03, 3: late_s}.get(number, 0.0))
        if number != 3:  # the neighbour is waited for in the tick that catches up
            rig.arrive(number, slot=1, generation=2)
    rig.run_for(8)
    assert rig.numbers(0) == list(range(6))
    assert (rig.loop.counts.catch_ups, rig.loop.counts.deadline_misses) == (1, 0)


def test_after_a_stall_one_catch_up_step_then_frames_are_dropped_and_lag_is_gone() -> None:
    rig = Rig()
    rig.call()
    rig.step_times[2] = 0.35  # ticks 4, 5 and 6 fall into it, and 7 is due when it ends
    for number in range(12):
        rig.arrive(number)
    rig.run_for(14)
    lost = sorted(set(range(12)) - set(rig.numbers()))
    assert lost == [3, 4]
    assert rig.loop.num_frames_dropped == 2
    assert rig.loop.counts.catch_ups == 1
    assert rig.loop.counts.deadline_misses == 4
    late = [r for r in rig.replies if r.number >= 7]
    assert all(r.collected_s == pytest.approx(rig.first_s + (r.number + 1) * PERIOD_S) for r in late)


def test_an_engine_that_is_always_too_slow_drops_frames_but_never_lags_more() -> None:
    rig = Rig(step_s=0.1)
    rig.call()
    for number in range(200):
        rig.arrive(number)
    rig.run_for(200)
    numbers = rig.numbers()
    assert numbers == sorted(set(numbers))
    ages = [r.collected_s - (rig.first_s + (r.number + 1) * PERIOD_S - AHEAD_S) for r in rig.replies]
    assert max(ages[-50:]) < 2 * PERIOD_S + 0.1 and max(ages[-50:]) <= max(ages[:50]) + 1e-6
    assert rig.loop.num_frames_dropped >= 200 - len(numbers) - 2 > 20
    assert rig.loop.counts.deadline_misses > 20


def test_idle_ticks_miss_no_deadline_and_step_nothing() -> None:
    rig = Rig()
    rig.call()
    rig.run_for(3)
    rig.clock.advance(1.0)
    rig.run_for(2)
    assert rig.num_steps == 0 and rig.loop.counts.deadline_misses == 0


def test_a_call_whose_audio_is_not_finite_ends_alone() -> None:
    rig = Rig()
    rig.call(0, 1)
    rig.call(1, 2)
    for number in range(4):
        rig.arrive(number)
        rig.arrive(number, slot=1, generation=2)
    rig.run_for(2)
    rig.loop.submit(Force(0, 1, standin.FORCE_NAN))
    rig.run_for(4)
    assert [(f.slot, f.generation) for f in rig.faults] == [(0, 1)] and "finite" in rig.faults[0].reason
    assert rig.numbers(0) == [0] and rig.numbers(1) == [0, 1, 2, 3]
    assert rig.loop.counts.faults == 1


def test_a_call_at_which_the_engine_raises_ends_alone() -> None:
    rig = Rig()
    rig.call(0, 1)
    rig.call(1, 2)
    for number in range(4):
        rig.arrive(number)
        rig.arrive(number, slot=1, generation=2)
    rig.run_for(2)
    rig.loop.submit(Force(0, 1, standin.FORCE_RAISE))
    rig.run_for(4)
    assert [(f.slot, f.reason) for f in rig.faults] == [(0, "the engine raised RuntimeError")]
    assert rig.numbers(1) == [0, 1, 2, 3]


def test_an_engine_that_fails_for_everybody_again_and_again_is_given_up() -> None:
    rig = Rig()

    def step(pcm: object, active: object) -> StandInOutput:
        raise RuntimeError("broken")

    rig.stepper.step = step  # type: ignore[method-assign]
    for generation in range(1, MAX_FRUITLESS_STEPS + 1):
        rig.call(0, generation)
        rig.arrive(generation * 2, generation=generation)
        if generation < MAX_FRUITLESS_STEPS:
            rig.run_for(2)
    with pytest.raises(RuntimeError, match="broken"):
        rig.run_for(8)
    assert len(rig.faults) == MAX_FRUITLESS_STEPS - 1


def test_commands_for_an_earlier_claim_change_nothing() -> None:
    rig = Rig()
    rig.call(0, 1)
    rig.loop.submit(Stop(0, 1))
    rig.call(0, 2)
    rig.loop.submit(Stop(0, 1))
    rig.loop.submit(Force(0, 1, 77))
    for number in range(3, 6):
        rig.arrive(number, generation=2)
    rig.run_for(8)
    assert rig.starts == [(1, None), (2, None)]
    assert [(r.generation, r.number) for r in rig.replies] == [(2, 3), (2, 4), (2, 5)]
    assert 77 not in [r.text for r in rig.replies]


def test_a_forced_token_comes_with_the_next_step() -> None:
    rig = Rig()
    rig.call()
    for number in range(4):
        rig.arrive(number)
    rig.run_for(2)
    rig.loop.submit(Force(0, 1, 77))
    rig.run_for(4)
    assert [r.text == 77 for r in rig.replies] == [False, True, False, False]


def test_a_start_that_fails_is_reported_and_the_slot_stays_dead() -> None:
    rig = Rig()
    rig.loop.submit(Start(0, 1, 0, np.zeros((4, 3), np.int16), NO_SPEECH))
    rig.arrive(0)
    rig.run_for(3)
    ((generation, error),) = rig.starts
    assert generation == 1 and isinstance(error, ValueError)
    assert rig.replies == []


def test_starts_wait_until_the_ticks_replies_are_out() -> None:
    rig = Rig()
    rig.call(0, 1)
    rig.arrive(0)
    rig.run_for(1)
    seen: list[int] = []
    rig.clock.at(rig.first_s + PERIOD_S - 0.005, lambda: rig.call(1, 2))
    start = rig.stepper.start
    rig.stepper.start = lambda *a, **k: (seen.append(len(rig.replies)), start(*a, **k))[1]  # type: ignore[method-assign,func-returns-value]
    rig.run_for(1)
    assert seen == [1]


def test_a_sentence_is_said_and_a_silence_kept() -> None:
    rig = Rig()
    rig.call()
    for number in range(9):
        rig.arrive(number)
    rig.run_for(2)
    rig.loop.submit(Silence(0, 1, 2))
    rig.loop.submit(Say(0, 1, np.array([41, 42], np.int32)))
    rig.loop.submit(Say(0, 7, np.array([43], np.int32)))  # of another claim
    rig.run_for(5)
    assert [reply.text for reply in rig.replies][1:5] == [standin.PAD_TOKEN, standin.PAD_TOKEN, 41, 42]


def test_a_command_that_the_engine_refuses_ends_that_call_only() -> None:
    rig = Rig()
    rig.call(0, 1)
    rig.call(1, 2)
    for number in range(4):
        rig.arrive(number)
        rig.arrive(number, slot=1, generation=2)
    rig.run_for(2)

    def refuse(slot: int, tokens: Sequence[int]) -> None:
        raise PromptError("no such token")

    rig.stepper.say = refuse  # type: ignore[method-assign]
    rig.loop.submit(Say(0, 1, np.array([9], np.int32)))
    rig.run_for(4)
    assert [(f.slot, f.reason) for f in rig.faults] == [
        (0, "the engine raised PromptError at the command say")
    ]
    assert rig.numbers(1) == [0, 1, 2, 3]


def test_a_start_carries_the_profile_and_a_bad_one_is_reported() -> None:
    rig = Rig()
    rig.loop.submit(Start(0, 1, 0, NO_HISTORY, NO_SPEECH, CallProfile(voice="nobody's")))
    rig.loop.submit(Start(1, 2, 0, NO_HISTORY, NO_SPEECH, CallProfile(voice="tone")))
    rig.run_for(3)
    (one, error), (two, nothing) = rig.starts
    assert (one, two, nothing) == (1, 2, None)
    assert isinstance(error, PromptError) and "tone" in str(error)
