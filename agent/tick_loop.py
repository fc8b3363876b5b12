"""The engine's thread: collect -> step -> deliver on an absolute 80 ms grid. No I/O here; nobody else steps.

The law of the tick. Tick n is due at `tick_s + n * 80 ms` for ever; a late one moves no later one. It waits
some milliseconds for a call that had a frame at the tick before and has none now. A slot with no frame idles:
the engine does not advance it, which its caller hears as a hole in the agent's speech, and its late frame is
made up for by one catch-up step, right after the next tick's step. There is at most one catch-up step per
tick, and after an overrun none in two ticks running: what is older is dropped and counted, so a caller is
never more than a frame behind.

Commands (start, stop, force a text token, say a sentence, be silent) run between steps, in the order they
came; a start may take long (it replays a call's history) and so waits until the tick's replies are out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.clock import Clock
from agent.inbox import Batch, Inbox
from agent.wire import DEFAULT_PROFILE, PERIOD_S, CallerFrame, Fault, Reply, Say, Silence
from model.control import CallProfile
from model.errors import PromptError
from telephony.audio import to_float, to_int16

GRACE_S = 0.012  # a gateway's event loop on a busy machine is seldom later than that
POLL_S = 0.002
MAX_COMMANDS = 4096
MAX_FRUITLESS_STEPS = 3


class StepOutput(Protocol):
    """What one step gives; S slots, K codebooks per speaker."""

    @property
    def pcm(self) -> NDArray[np.float32]:
        """[S, 1920] agent audio; zeros in idle rows."""

    @property
    def text(self) -> NDArray[np.int32]:
        """[S] agent text token; -1 in idle rows."""

    @property
    def caller_text(self) -> NDArray[np.int32]:
        """[S] caller-transcript token; -1 in idle rows."""

    @property
    def tokens(self) -> NDArray[np.int16]:
        """[S, 1 + 2K]: the history that can re-prime a slot."""


class Stepper(Protocol):
    """What a worker needs of an engine: `model.engine.Engine`, or `agent.standin.StandIn`.

    Stated here and not beside the engine, so that a worker whose engine is the stand-in loads no torch.
    """

    @property
    def num_slots(self) -> int:
        """Rows of the batch."""

    def start(
        self,
        slot: int,
        *,
        seed: int,
        profile: CallProfile = DEFAULT_PROFILE,
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """Reset a slot for a call; with a history int16 [T, 1 + 2K], go on where it ended.

        Raises model.errors.PromptError for a profile or history that this model cannot take.
        """

    def say(self, slot: int, tokens: Sequence[int]) -> None:
        """Let the agent say these text tokens next, in place of what was queued; none: stop saying."""

    def silence(self, slot: int, frames: int) -> None:
        """Keep the agent silent for so many steps; 0 ends a silence."""

    def force_text(self, slot: int, token: int) -> None:
        """The slot's next step takes this text token."""

    def age(self, frames: int) -> None:
        """Make every free slot look as if it had lived so many steps, and steppable as it is.

        For benches and calibration: a step costs what a long call's costs. `stop` such slots before use.
        """

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> StepOutput:
        """Advance the active rows by one frame: float32 [S, 1920], bool [S]."""

    def stop(self, slot: int) -> None:
        """The slot's call is over."""


@dataclass(frozen=True, slots=True)
class Start:
    """Prepare a slot for a call; `Outlet.started` tells the end of it."""

    slot: int
    generation: int
    seed: int
    history: NDArray[np.int16]  # [T, 1 + 2K]; empty for a new call
    caller_pcm: NDArray[np.int16]  # [N]; may be empty
    profile: CallProfile = DEFAULT_PROFILE


@dataclass(frozen=True, slots=True)
class Stop:
    """The slot's call is over."""

    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Force:
    """The slot's next step takes this text token."""

    slot: int
    generation: int
    token: int


Command = Start | Stop | Force | Say | Silence  # the last two are the messages themselves


class Outlet(Protocol):
    """Where the engine thread's results go; called on the engine thread, must not block."""

    def started(self, command: Start, seconds: float, error: Exception | None) -> None:
        """A start is done, or failed."""

    def deliver(self, replies: list[Reply]) -> None:
        """One step's replies."""

    def failed(self, fault: Fault) -> None:
        """The engine failed in one slot; it is stopped already."""


@dataclass(slots=True)
class TickCounts:
    """Written by the engine thread; the I/O thread reads them and empties `tick_seconds`."""

    ticks: int = 0
    steps: int = 0
    catch_ups: int = 0
    deadline_misses: int = 0
    frames_missing: int = 0
    faults: int = 0
    seen_s: float = 0.0  # when the thread last stood between two ticks
    tick_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=256))


class TickLoop:
    """Steps one engine for all its slots; the I/O thread may call `push`, `submit` and `stop`."""

    def __init__(
        self,
        stepper: Stepper,
        outlet: Outlet,
        clock: Clock,
        *,
        phase_s: float = 0.0,
        tidy: Callable[[], None] | None = None,
    ) -> None:
        self._stepper, self._outlet, self._clock, self._tidy = stepper, outlet, clock, tidy
        self._log = structlog.get_logger("agent.tick_loop")
        self._inbox = Inbox(stepper.num_slots)
        self._commands: deque[Command] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._live: dict[int, int] = {}  # slot -> generation
        self._fed: set[int] = set()  # live slots that have had a frame
        self._prompt: dict[
            int, int
        ] = {}  # of those, slot -> generation, the ones that had it at the last tick
        self._step_s = 0.0  # of the latest step
        self._has_just_caught_up = False
        self._num_fruitless = 0
        self._is_stopping = threading.Event()
        self.tick_s = (clock.now() // PERIOD_S + 1) * PERIOD_S + phase_s % PERIOD_S
        self._index = 0
        self.counts = TickCounts(seen_s=clock.now())

    # ---- I/O thread ----

    def push(self, frame: CallerFrame) -> None:
        """A caller's newest frame; the slot must be known."""
        self._inbox.put(frame)

    def submit(self, command: Command) -> bool:
        """Queue a command; False when the queue is full, which only a peer that floods can bring about."""
        if len(self._commands) >= MAX_COMMANDS and isinstance(command, (Force, Say, Silence)):
            return False
        self._commands.append(command)
        return True

    def call_between(self, errand: Callable[[], None]) -> None:
        """Run it once on the engine's thread, after a tick's replies are out; it must not raise."""
        self._errands.append(errand)

    def stop(self) -> None:
        """Let `run` return after the tick it is in."""
        self._is_stopping.set()

    @property
    def num_frames_dropped(self) -> int:
        """Caller frames thrown away so that lag does not accumulate."""
        return self._inbox.num_dropped

    # ---- engine thread ----

    def run(self) -> None:
        """Tick until stopped."""
        while not self._is_stopping.is_set():
            self.tick()

    def tick(self) -> None:
        """Wait for the next tick, step what has come, deliver it, then obey waiting starts."""
        due_s = self.tick_s + self._index * PERIOD_S
        self._clock.sleep_until(due_s)
        self._obey(starts_before_s=None)
        self._await_frames(due_s)
        began_s = self._clock.now()
        has_time = began_s + 2 * self._step_s <= due_s + PERIOD_S
        batches = self._inbox.collect(self._live, may_catch_up=has_time or not self._has_just_caught_up)
        for batch in batches:
            self._step(batch.within(self._live), began_s)  # the first step may have ended a call
        self._count(batches, began_s)
        self._obey(starts_before_s=due_s + PERIOD_S - self._step_s)
        while self._errands:
            self._errands.popleft()()
        self._clean(due_s + PERIOD_S)
        self._advance(due_s, is_idle=not batches)

    def _await_frames(self, due_s: float) -> None:
        """Give a call that was in time at the last tick a moment, out of the time that our steps leave."""
        while self._inbox.lacks_any(self._prompt):
            num_steps = 2 if self._inbox.holds_two(self._live) else 1  # it may become two while we wait
            until_s = due_s + min(GRACE_S, (PERIOD_S - num_steps * self._step_s) / 2)
            if (now_s := self._clock.now()) >= until_s:
                return
            self._clock.sleep_until(min(now_s + POLL_S, until_s))

    def _advance(self, due_s: float, *, is_idle: bool) -> None:
        """Choose the next tick: the following one, or the last one that is already due."""
        self.counts.seen_s = self._clock.now()
        num_late = int((self.counts.seen_s - due_s) // PERIOD_S)
        if not is_idle:
            self.counts.deadline_misses += num_late
        self._index += max(1, num_late)

    def _count(self, batches: list[Batch], began_s: float) -> None:
        """`frames_missing` counts idle rows of calls that have spoken before."""
        self.counts.ticks += 1
        self._has_just_caught_up = len(batches) == 2
        if batches:
            self.counts.steps += len(batches)
            self.counts.catch_ups += len(batches) - 1
            self.counts.tick_seconds.append(self._clock.now() - began_s)
        came = batches[0].frames.keys() & self._live.keys() if batches else set[int]()
        self.counts.frames_missing += len(self._fed - came)
        self._fed |= came
        self._prompt = {slot: self._live[slot] for slot in came}

    def _step(self, batch: Batch, collected_s: float) -> None:
        began_s = self._clock.now()
        faults: dict[int, str] = {}
        try:
            outputs = dict.fromkeys(batch.frames, self._stepper.step(batch.pcm, batch.active))
            self._num_fruitless = 0
        except Exception as error:
            self._log.exception("engine_step_failed", num_slots=len(batch.frames))
            outputs = self._step_alone(batch, faults)
            self._notice_fruitless(bool(outputs), error)
        self._step_s = self._clock.now() - began_s
        for slot in list(outputs):
            if not np.isfinite(outputs[slot].pcm[slot]).all():
                faults[slot] = "the engine's audio is not finite"
                del outputs[slot]
        self._deliver(batch, outputs, collected_s)
        for slot, reason in faults.items():
            self._fail(slot, reason)

    def _step_alone(self, batch: Batch, faults: dict[int, str]) -> dict[int, StepOutput]:
        """After a step that raised: try each row by itself, so that only the guilty call ends.

        A row that had been advanced before the exception hears this frame twice; that is the lesser harm.
        """
        outputs: dict[int, StepOutput] = {}
        for slot in batch.frames:
            alone = batch.only(slot)
            try:
                outputs[slot] = self._stepper.step(alone.pcm, alone.active)
            except Exception as error:
                faults[slot] = f"the engine raised {type(error).__name__}"
        return outputs

    def _notice_fruitless(self, has_outputs: bool, error: Exception) -> None:
        """An engine that fails for every call again and again is broken: give up, the pool starts another."""
        self._num_fruitless = 0 if has_outputs else self._num_fruitless + 1
        if self._num_fruitless >= MAX_FRUITLESS_STEPS:
            raise error

    def _deliver(self, batch: Batch, outputs: dict[int, StepOutput], collected_s: float) -> None:
        delivered_s = self._clock.now()
        replies = [
            Reply(
                slot=slot,
                generation=batch.frames[slot].generation,
                number=batch.frames[slot].number,
                text=int(out.text[slot]),
                caller_text=int(out.caller_text[slot]),
                collected_s=collected_s,
                delivered_s=delivered_s,
                step_s=self._step_s,
                tokens=out.tokens[slot].copy(),
                pcm=to_int16(out.pcm[slot]),
            )
            for slot, out in outputs.items()
        ]
        if replies:
            self._outlet.deliver(replies)

    def _fail(self, slot: int, reason: str) -> None:
        self.counts.faults += 1
        generation = self._live[slot]
        self._forget(slot)
        self._outlet.failed(Fault(slot, generation, reason))

    def _forget(self, slot: int) -> None:
        del self._live[slot]
        self._fed.discard(slot)
        self._prompt.pop(slot, None)
        try:
            self._stepper.stop(slot)
        except Exception:
            self._log.exception("engine_stop_failed")

    def _obey(self, *, starts_before_s: float | None) -> None:
        """Run queued commands in order, up to the first start that must wait; one start per tick runs."""
        may_start = starts_before_s is not None
        while self._commands:
            command = self._commands[0]
            if isinstance(command, Start):
                if not may_start:
                    return
                self._start(command)
                may_start = starts_before_s is not None and self._clock.now() < starts_before_s
            elif self._live.get(command.slot) == command.generation:
                self._act(command)
            self._commands.popleft()

    def _act(self, command: Stop | Force | Say | Silence) -> None:
        """One command to a live slot; what the engine makes of a bad one ends that call only."""
        name = type(command).__name__.lower()
        try:
            match command:
                case Stop():
                    self._forget(command.slot)
                case Force():
                    self._stepper.force_text(command.slot, command.token)
                case Say():
                    self._stepper.say(command.slot, command.tokens.tolist())
                case Silence():
                    self._stepper.silence(command.slot, command.frames)
        except Exception as error:
            self._log.exception("engine_command_failed", command=name)
            self._fail(command.slot, f"the engine raised {type(error).__name__} at the command {name}")

    def _start(self, command: Start) -> None:
        began_s = self._clock.now()
        failure: Exception | None = None
        try:
            self._stepper.start(
                command.slot,
                seed=command.seed,
                profile=command.profile,
                history=command.history if len(command.history) else None,
                caller_pcm=to_float(command.caller_pcm) if len(command.caller_pcm) else None,
            )
            self._live[command.slot] = command.generation
        except PromptError as error:  # the operator's fault or another model's history, not the engine's
            self._log.warning("engine_refused_prompt", cause=str(error), num_history=len(command.history))
            failure = error
        except Exception as error:
            self._log.exception("engine_start_failed", num_history=len(command.history))
            failure = error
        self._outlet.started(command, self._clock.now() - began_s, failure)

    def _clean(self, next_s: float) -> None:
        """About once a second, in a tick's slack, collect reference cycles (else the collector is off)."""
        if (
            self._tidy is not None
            and self.counts.ticks % 16 == 0
            and next_s - self._clock.now() > PERIOD_S / 4
        ):
            self._tidy()
