"""Chain of modality on our own model: first the text of a whole answer, only then its sound.

Per frame, as the model is made, each step gives a piece of text and of sound together. Here, when a call's
agent begins an answer, the call's slot stands still while a second one, primed with the same history up to
the frame before, writes the answer out to its end in a silent room. Then the first slot goes on from where
the second began, with the same draws: so it says what was written, and can be interrupted as ever. Weights,
sampling and call path are the same. An answer that the second slot does not begin (the caller only paused) is
left to the first as it is. What the caller says while text is written is not heard.

What it costs is counted as a machine would need it that writes one step of text after another without waiting
for the clock: the second slot's steps up to the last word, each at the CPU time that it took. Source: the
text-first answers of spoken-dialogue models, e.g. arXiv 2305.11000.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent.tick_loop import StepOutput
from agent.wire import DEFAULT_PROFILE, FRAME_SAMPLES, PERIOD_S
from model.control import CallProfile
from model.engine import Engine
from model.tokenizer import PAD, TextTokenizer

HISTORY_FRAMES = 375  # what the writing slot is told of the call: 30 s
QUIET_FRAMES = 10  # without a word: what comes next is another answer
WRITTEN_QUIET_FRAMES = 18  # and so many end the writing: a long word may take a second
MAX_WRITTEN_FRAMES = 125
_WARM_SAMPLES = 25 * FRAME_SAMPLES  # of the caller's sound, for its hearing


@dataclass(slots=True)
class _Call:
    """What has to be kept of a call, newest last."""

    seed: int
    profile: CallProfile
    columns: list[NDArray[np.int16]] = field(default_factory=list)
    heard: list[NDArray[np.float32]] = field(default_factory=list)
    # Since the agent's last word; None before its first: the greeting answers nobody and is left as it is.
    quiet_frames: int | None = None
    num_away: int = 0  # frames that writing still takes

    def note(self, column: NDArray[np.int16], pcm: NDArray[np.float32]) -> None:
        """One step that this call has made."""
        self.columns = [*self.columns[1 - HISTORY_FRAMES :], column]
        self.heard = [*self.heard[-24:], pcm]


class TextFirst:
    """A `Stepper` over half of an engine's slots; the other half writes."""

    def __init__(self, engine: Engine, step_s: float | None = None) -> None:
        """`step_s` is what a step of writing is counted with; by default the CPU time of each."""
        assert engine.num_slots % 2 == 0, engine.num_slots
        self._engine, self._step_s = engine, step_s
        self._marks = (engine.tokenizer.hangup, engine.tokenizer.transfer)
        self._calls: list[_Call | None] = [None] * (engine.num_slots // 2)
        self.waits_s: list[float] = []  # what writing took, of every answer

    @property
    def tokenizer(self) -> TextTokenizer:
        """The engine's."""
        return self._engine.tokenizer

    @property
    def num_slots(self) -> int:
        """Rows of the batch."""
        return len(self._calls)

    def start(
        self,
        slot: int,
        *,
        seed: int,
        profile: CallProfile = DEFAULT_PROFILE,
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """As the engine's."""
        self._engine.start(slot, seed=seed, profile=profile, history=history, caller_pcm=caller_pcm)
        self._calls[slot] = _Call(seed, profile)

    def say(self, slot: int, tokens: Sequence[int]) -> None:
        """As the engine's."""
        self._engine.say(slot, tokens)

    def silence(self, slot: int, frames: int) -> None:
        """As the engine's."""
        self._engine.silence(slot, frames)

    def force_text(self, slot: int, token: int) -> None:
        """As the engine's."""
        self._engine.force_text(slot, token)

    def age(self, frames: int) -> None:
        """As the engine's."""
        self._engine.age(frames)

    def stop(self, slot: int) -> None:
        """As the engine's."""
        self._engine.stop(slot)
        self._calls[slot] = None

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> StepOutput:
        """Advance the active rows by one frame; an answer that begins in it is written out first."""
        size = self.num_slots
        steps = active & np.array([call is not None and not call.num_away for call in self._calls])
        out = self._engine.step(
            np.concatenate([pcm, np.zeros_like(pcm)]), np.concatenate([steps, np.zeros(size, np.bool_)])
        )
        rows = _Rows(out.pcm[:size], out.text[:size], out.caller_text[:size], out.tokens[:size])
        for slot in np.flatnonzero(active).tolist():
            call = self._calls[slot]
            assert call is not None, slot
            if steps[slot]:
                call.note(out.tokens[slot], pcm[slot])
                self._follow(slot, call, int(out.text[slot]))
            else:
                self._wait(slot, call)
            if call.num_away or not steps[slot]:
                rows.pcm[slot], rows.text[slot], rows.caller_text[slot] = 0, PAD, PAD
        return rows

    def _follow(self, slot: int, call: _Call, token: int) -> None:
        is_word = bool(self.tokenizer.piece(token))
        quiet = call.quiet_frames
        begins = is_word and quiet is not None and quiet >= QUIET_FRAMES
        call.quiet_frames = 0 if is_word else None if quiet is None else quiet + 1
        if not begins:
            return
        written, wait_s = self._write(slot + self.num_slots, call)
        if written:
            self.waits_s.append(wait_s)
            call.num_away = max(1, math.ceil(wait_s / PERIOD_S))

    def _wait(self, slot: int, call: _Call) -> None:
        """One frame of writing has passed; after the last the answer is said."""
        call.num_away -= 1
        if call.num_away:
            return
        self._engine.stop(slot)
        call.columns = call.columns[:-1]
        self._start_again(slot, call)

    def _start_again(self, slot: int, call: _Call) -> None:
        heard = np.concatenate(call.heard)[-_WARM_SAMPLES:]
        self._engine.start(
            slot, seed=call.seed, profile=call.profile, history=np.stack(call.columns), caller_pcm=heard
        )

    def _write(self, slot: int, call: _Call) -> tuple[list[int], float]:
        """The answer's text tokens, and how long they took in seconds up to the last of them."""
        # A started slot reads its last column again: with the one before, it stands where the call began to
        # answer. Forcing the first word instead puts it a frame early, and the model loses its thread.
        self._start_again(slot, replace(call, columns=call.columns[:-1]))
        pcm = np.zeros((self._engine.num_slots, FRAME_SAMPLES), np.float32)
        active = np.zeros(self._engine.num_slots, np.bool_)
        active[slot] = True
        tokens: list[int] = []
        num_quiet, spent_s, wait_s = 0, 0.0, 0.0
        for _step in range(MAX_WRITTEN_FRAMES):
            began_s = time.thread_time()
            token = int(self._engine.step(pcm, active).text[slot])
            spent_s += time.thread_time() - began_s if self._step_s is None else self._step_s
            is_word = bool(self.tokenizer.piece(token))
            num_quiet = 0 if is_word else num_quiet + 1
            if is_word or token in self._marks:
                tokens.append(token)
                wait_s = spent_s
            if num_quiet >= WRITTEN_QUIET_FRAMES:
                break
        self._engine.stop(slot)
        return tokens, wait_s


@dataclass(frozen=True, slots=True)
class _Rows:
    """The first rows of a step's output."""

    pcm: NDArray[np.float32]
    text: NDArray[np.int32]
    caller_text: NDArray[np.int32]
    tokens: NDArray[np.int16]
