"""Calls kept exactly as the engine lived through them, so that one can be replayed bit for bit.

`TracedStepper` wraps any engine and writes one .npz per call into a folder: the caller's samples, every token
that was read or drawn, the profile, the seed, and each command with the step before which it came. It holds
the caller's voice: it is off by default, its files are for their owner alone, and their names hold a time and
a random word only. A thread writes; the engine's thread never waits for the disk.

Bounds: MAX_FRAMES of a call are kept, what comes later is left out (`is_cut`); MAX_WAITING calls may wait for
the disk, one more is dropped and logged.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.errors import AgentError
from agent.tick_loop import StepOutput, Stepper
from agent.wire import (
    DEFAULT_PROFILE,
    FRAME_SAMPLES,
    MAX_SAY_TOKENS,
    MAX_SILENCE_FRAMES,
    NO_HISTORY,
    NO_SPEECH,
)
from agent.wire_fields import MAX_TOKEN
from model.control import CallProfile
from telephony.audio import to_float, to_int16

VERSION = 1
MAX_FRAMES = 7500  # ten minutes: 30 MB of memory until the call is over
MAX_COMMANDS = 4096
MAX_WAITING = 8
CLOSE_TIMEOUT_S = 10.0

Command = tuple[int, str, list[int]]  # before which step; say, silence or force; its tokens or frames

log = structlog.get_logger("agent.trace")


class TraceError(AgentError):
    """A file is no trace of a call, or not one of this version."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One call as an engine lived through it; T steps."""

    seed: int
    profile: CallProfile
    history: NDArray[np.int16]  # [N, 1 + 2K] that it was started with; may be empty
    caller_pcm: NDArray[np.int16]  # [M] that it was started with; may be empty
    pcm: NDArray[np.int16]  # [T, 1920] the caller's
    columns: NDArray[np.int16]  # [T, 1 + 2K] as read: text, agent codes, caller codes
    text: NDArray[np.int32]  # [T] as drawn
    caller_text: NDArray[np.int32]  # [T]
    commands: tuple[Command, ...]
    model: dict[str, object]  # what the engine was, and on what it ran
    num_slots: int
    slot: int
    is_cut: bool  # the call was longer
    is_exact: bool  # no step failed and was tried again

    def save(self, path: Path) -> None:
        """Write a new file that its owner alone can read; it appears whole or not at all.

        Raises OSError.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        told = {
            "version": VERSION,
            "seed": str(self.seed),  # beyond what JSON readers keep exactly
            "profile": asdict(self.profile),
            **{name: getattr(self, name) for name in _VALUES},
        }
        partial = path.with_suffix(".partial")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                np.savez(file, told=np.array(json.dumps(told)), **arrays)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Read a file that `save` wrote.

        Raises TraceError for anything else.
        """
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                told = json.loads(str(file["told"]))
                if told["version"] != VERSION:
                    raise TraceError(f"{path} is a trace of version {told['version']}; this is {VERSION}")
                arrays: dict[str, Any] = {
                    name: np.asarray(file[name], kind) for name, kind in _ARRAYS.items()
                }
            commands = tuple((int(at), str(kind), [int(v) for v in of]) for at, kind, of in told["commands"])
            values: dict[str, Any] = {name: told[name] for name in _VALUES if name != "commands"}
            profile = _profile(told["profile"])
            trace = cls(int(told["seed"]), profile, **arrays, **values, commands=commands)
            trace._check()
        except (OSError, EOFError, BadZipFile, KeyError, TypeError, ValueError) as error:
            raise TraceError(f"{path} is no trace of a call ({type(error).__name__}: {error})") from None
        return trace

    def _check(self) -> None:
        """Raise ValueError if the parts do not fit together."""
        steps = len(self.pcm)
        if self.pcm.shape != (steps, FRAME_SAMPLES) or self.columns.ndim != 2:
            raise ValueError(f"samples of shape {self.pcm.shape}, columns of {self.columns.shape}")
        if not steps == len(self.columns) == len(self.text) == len(self.caller_text):
            raise ValueError("its parts differ in length")
        is_whole = isinstance(self.slot, int) and isinstance(self.num_slots, int)
        if not is_whole or not 0 <= self.slot < self.num_slots <= 1024:
            raise ValueError(f"slot {self.slot} of {self.num_slots}")
        if not isinstance(self.model, dict):
            raise ValueError("no model is told")
        for _, kind, values in self.commands:
            most, num_most = _BOUNDS.get(kind, (0, 0))
            has_values = len(values) <= num_most if kind == "say" else len(values) == num_most
            least = -MAX_TOKEN if kind == "force" else 0
            fits = all(least <= value <= most for value in values)
            if kind not in _ACTS or not has_values or not fits:
                raise ValueError(f"a command {kind!r} that cannot be given")


_ARRAYS: dict[str, type[np.int16] | type[np.int32]] = {
    "history": np.int16,
    "caller_pcm": np.int16,
    "pcm": np.int16,
    "columns": np.int16,
    "text": np.int32,
    "caller_text": np.int32,
}
# Of a command: its largest number, and how many it has (at the most, for a sentence).
_BOUNDS = {"say": (MAX_TOKEN, MAX_SAY_TOKENS), "silence": (MAX_SILENCE_FRAMES, 1), "force": (MAX_TOKEN, 1)}
_VALUES = ("commands", "model", "num_slots", "slot", "is_cut", "is_exact")


def _profile(told: Mapping[str, object]) -> CallProfile:
    """JSON knows no tuples."""
    bias = tuple((int(token), float(value)) for token, value in told["text_bias"])  # type: ignore[attr-defined]
    banned = tuple(int(token) for token in told["banned"])  # type: ignore[attr-defined]
    return CallProfile(**{**told, "text_bias": bias, "banned": banned})  # type: ignore[arg-type]


@dataclass(slots=True)
class _Call:
    """One call in progress. Engine thread only, until it is over."""

    seed: int
    profile: CallProfile
    history: NDArray[np.int16]
    caller_pcm: NDArray[np.int16]
    pcm: list[NDArray[np.int16]] = field(default_factory=list)
    columns: list[NDArray[np.int16]] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    caller_text: list[int] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    is_cut: bool = False
    is_exact: bool = True

    def command(self, kind: str, values: Sequence[int]) -> None:
        if len(self.commands) >= MAX_COMMANDS:
            self.is_cut = True
        if not self.is_cut:
            self.commands.append((len(self.pcm), kind, list(values)[:MAX_SAY_TOKENS]))


class TracedStepper:
    """A `Stepper` that keeps what passes through it."""

    def __init__(
        self, stepper: Stepper, folder: Path, model: Mapping[str, object], *, max_frames: int = MAX_FRAMES
    ) -> None:
        self._stepper, self._folder, self._model = stepper, folder, dict(model)
        self._max_frames = max_frames
        self._calls: dict[int, _Call] = {}
        self._over: queue.Queue[tuple[int, _Call] | None] = queue.Queue(MAX_WAITING)
        self._writer = threading.Thread(target=self._write, name="trace", daemon=True)
        self._writer.start()

    @property
    def num_slots(self) -> int:
        """Rows of the batch."""
        return self._stepper.num_slots

    def start(
        self,
        slot: int,
        *,
        seed: int,
        profile: CallProfile = DEFAULT_PROFILE,
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """Start the call, and its trace."""
        self._stepper.start(slot, seed=seed, profile=profile, history=history, caller_pcm=caller_pcm)
        columns = NO_HISTORY if history is None else history
        sound = NO_SPEECH if caller_pcm is None else to_int16(caller_pcm)
        self._calls[slot] = _Call(seed, profile, columns, sound)

    def say(self, slot: int, tokens: Sequence[int]) -> None:
        """Pass it on and keep it."""
        self._stepper.say(slot, tokens)
        self._note(slot, "say", tokens)

    def silence(self, slot: int, frames: int) -> None:
        """Pass it on and keep it."""
        self._stepper.silence(slot, frames)
        self._note(slot, "silence", [frames])

    def force_text(self, slot: int, token: int) -> None:
        """Pass it on and keep it."""
        self._stepper.force_text(slot, token)
        self._note(slot, "force", [token])

    def age(self, frames: int) -> None:
        """Pass it on."""
        self._stepper.age(frames)

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> StepOutput:
        """Step, and keep what the active rows heard and gave."""
        rows = [int(slot) for slot in np.flatnonzero(active) if int(slot) in self._calls]
        try:
            out = self._stepper.step(pcm, active)
        except Exception:
            for slot in rows:
                self._calls[slot].is_exact = False  # some rows may have moved on
            raise
        for slot in rows:
            self._keep(self._calls[slot], pcm[slot], out, slot)
        return out

    def stop(self, slot: int) -> None:
        """End the call and hand its trace to the writer."""
        call = self._calls.pop(slot, None)
        try:
            self._stepper.stop(slot)
        finally:
            self._hand_over(slot, call)

    def close(self) -> None:
        """Hand over what is still live, and wait for the disk for a while."""
        for slot, call in list(self._calls.items()):
            self._hand_over(slot, call)
        self._calls.clear()
        try:
            self._over.put(None, timeout=CLOSE_TIMEOUT_S)
        except queue.Full:
            return
        self._writer.join(CLOSE_TIMEOUT_S)

    def _note(self, slot: int, kind: str, values: Sequence[int]) -> None:
        if slot in self._calls:
            self._calls[slot].command(kind, values)

    def _keep(self, call: _Call, pcm: NDArray[np.float32], out: StepOutput, slot: int) -> None:
        if call.is_cut or len(call.pcm) >= self._max_frames:
            call.is_cut = True
            return
        call.pcm.append(to_int16(pcm))
        call.columns.append(out.tokens[slot].copy())
        call.text.append(int(out.text[slot]))
        call.caller_text.append(int(out.caller_text[slot]))

    def _hand_over(self, slot: int, call: _Call | None) -> None:
        if call is None or not call.pcm:
            return
        try:
            self._over.put_nowait((slot, call))
        except queue.Full:
            log.warning("trace_dropped", num_frames=len(call.pcm), num_waiting=MAX_WAITING)

    def _write(self) -> None:
        """The writer's thread; what goes wrong here touches no call."""
        while (item := self._over.get()) is not None:
            slot, call = item
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            path = self._folder / f"{stamp}-{secrets.token_hex(4)}.npz"
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._trace(slot, call).save(path)
            except (OSError, ValueError) as error:
                log.warning("trace_failed", path=str(path), cause=str(error))
            else:
                log.info("trace_written", path=str(path), num_frames=len(call.pcm), is_cut=call.is_cut)

    def _trace(self, slot: int, call: _Call) -> Trace:
        return Trace(
            seed=call.seed,
            profile=call.profile,
            history=call.history,
            caller_pcm=call.caller_pcm,
            pcm=np.stack(call.pcm),
            columns=np.stack(call.columns),
            text=np.array(call.text, np.int32),
            caller_text=np.array(call.caller_text, np.int32),
            commands=tuple(call.commands),
            model=self._model,
            num_slots=self.num_slots,
            slot=slot,
            is_cut=call.is_cut,
            is_exact=call.is_exact,
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of living through a trace again."""

    num_steps: int
    different: NDArray[np.int64]  # the steps whose tokens were others

    @property
    def is_equal(self) -> bool:
        """Whether every token was the same."""
        return not len(self.different)


def replay(stepper: Stepper, trace: Trace) -> Replay:
    """Feed a trace to an engine of as many slots, in the same slot; all others idle."""
    assert stepper.num_slots == trace.num_slots, (stepper.num_slots, trace.num_slots)
    slot, size = trace.slot, trace.num_slots
    active = np.arange(size) == slot
    batch = np.zeros((size, FRAME_SAMPLES), np.float32)
    stepper.start(
        slot,
        seed=trace.seed,
        profile=trace.profile,
        history=trace.history if len(trace.history) else None,
        caller_pcm=to_float(trace.caller_pcm) if len(trace.caller_pcm) else None,
    )
    waiting = list(trace.commands)
    different: list[int] = []
    try:
        for number, pcm in enumerate(trace.pcm):
            while waiting and waiting[0][0] <= number:
                _, kind, values = waiting.pop(0)
                _ACTS[kind](stepper, slot, values)
            batch[slot] = to_float(pcm)
            out = stepper.step(batch, active)
            drawn = int(out.text[slot]), int(out.caller_text[slot])
            kept = int(trace.text[number]), int(trace.caller_text[number])
            if drawn != kept or not np.array_equal(out.tokens[slot], trace.columns[number]):
                different.append(number)
    finally:
        stepper.stop(slot)
    return Replay(len(trace.pcm), np.array(different, np.int64))


def _say(stepper: Stepper, slot: int, values: list[int]) -> None:
    stepper.say(slot, values)


def _silence(stepper: Stepper, slot: int, values: list[int]) -> None:
    stepper.silence(slot, values[0])


def _force(stepper: Stepper, slot: int, values: list[int]) -> None:
    stepper.force_text(slot, values[0])


_ACTS = {"say": _say, "silence": _silence, "force": _force}
