"""An engine without a model, for load tests, benches and failure drills: `OFFHOOK_WORKER__ENGINE=standin`.

It keeps the tick's real timing (a step lasts `step_s + row_step_s * active rows`; unless told, 1 ms a row, or
less where a full batch would take longer than FULL_STEP_S) but hardly any CPU time, and behaves like a simple
party in a call, the same every time: it greets with a burst of syllables, answers with one when the caller
has fallen silent, and falls silent when interrupted. Each of its lines has its own pitch (`line_hz`), so a
recording shows which line was played. A slot that is started with a history does not greet and goes on with
the line after the history's last one. In echo mode a step returns its input.

A caller who has spoken for 5 s has asked what nobody can know: after its line it passes the question on.

Text tokens: line n is `LINE_TOKEN + n`, then one WORD_TOKEN per syllable, else PAD_TOKEN; the caller's
transcript gets CALLER_TOKEN when the caller has spoken. What it is told to say comes as one token a step,
with sound; then the party goes on. Forcing FORCE_NAN, FORCE_RAISE, FORCE_HANG or FORCE_EXIT makes the slot
fail so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.clock import Clock, SystemClock
from agent.wire import DEFAULT_PROFILE, FRAME_SAMPLES, SAMPLE_RATE_HZ
from model.control import CallProfile
from model.errors import PromptError

NUM_COLUMNS = 17  # as Moshi: text, 8 agent codes, 8 caller codes
PAD_TOKEN = 3
LINE_TOKEN = 1000
WORD_TOKEN = 500
CALLER_TOKEN = 600
DELEGATE_TOKEN = 703
FORCE_NAN, FORCE_RAISE, FORCE_HANG, FORCE_EXIT = -101, -102, -103, -104
VOICED_DBFS = -45.0  # what counts as the caller speaking
VOICED_POWER = 10 ** (VOICED_DBFS / 10)
HANGOVER_FRAMES = 3  # silence after which the caller is taken to have ended
INTERRUPT_FRAMES = 3  # the caller's speech before the stand-in yields
SYLLABLE_FRAMES = 2
LINE_FRAMES = 12
QUESTION_FRAMES = 62  # of the caller's speech: a question to pass on
ROW_STEP_S = 0.001
FULL_STEP_S = 0.032  # of the 80 ms between ticks: a late frame's catch-up step fits in as well
LEVEL = 0.2
EXIT_STATUS = 70
VOICES = ("tone",)


@dataclass(frozen=True, slots=True)
class StandInOutput:
    """As `model.engine.StepOutput`."""

    pcm: NDArray[np.float32]
    text: NDArray[np.int32]
    caller_text: NDArray[np.int32]
    tokens: NDArray[np.int16]


def line_hz(line: int) -> float:
    """The pitch of line n: 400, 500 .. 1100 Hz, then from the beginning."""
    return 400.0 + 100.0 * (line % 8)


@lru_cache(maxsize=8 * LINE_FRAMES)
def _said(pitch: int, frame: int) -> NDArray[np.float32]:
    """The same sound, made once."""
    pcm = burst(pitch, frame)
    pcm.flags.writeable = False
    return pcm


def burst(line: int, frame: int) -> NDArray[np.float32]:
    """Frame `frame` of line `line`: float32 [1920], raised-cosine syllables of 160 ms."""
    at = (np.arange(FRAME_SAMPLES) + frame * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    syllable_s = SYLLABLE_FRAMES * FRAME_SAMPLES / SAMPLE_RATE_HZ
    envelope = 0.5 - 0.5 * np.cos(2 * np.pi * at / syllable_s)
    return np.asarray(LEVEL * envelope * np.sin(2 * np.pi * line_hz(line) * at), np.float32)


@dataclass(slots=True)
class _Party:
    """One slot's side of the conversation."""

    line: int = 0  # the line that is being said, or comes next
    at_frame: int | None = None  # of that line; None: silent
    num_voiced: int = 0  # frames of the caller's current speech
    num_silent: int = 0
    forced: int | None = None
    to_say: list[int] = field(default_factory=list)  # tokens of a sentence it was told to say
    num_quiet: int = 0  # steps for which it was told to be silent
    is_asked: bool = False  # something that it has to pass on

    def hear(self, is_voiced: bool) -> int:
        """Take one caller frame in; the caller-transcript token."""
        if is_voiced:
            self.num_voiced, self.num_silent = self.num_voiced + 1, 0
            if self.at_frame is not None and self.num_voiced >= INTERRUPT_FRAMES:
                self._end_line()
            return PAD_TOKEN
        self.num_silent += 1
        if self.num_silent < HANGOVER_FRAMES or not self.num_voiced:
            return PAD_TOKEN
        self.is_asked = self.is_asked or self.num_voiced >= QUESTION_FRAMES
        self.num_voiced = 0
        self.at_frame = 0 if self.at_frame is None else self.at_frame
        return CALLER_TOKEN

    def speak(self) -> tuple[int, NDArray[np.float32] | None]:
        """The text token and sound of this frame; None: it is silent."""
        if self.num_quiet:
            self.num_quiet -= 1
            return PAD_TOKEN, None
        if self.to_say:
            return self.to_say.pop(0), _said(self.line % 8, len(self.to_say) % SYLLABLE_FRAMES)
        if self.at_frame is None:
            text, self.is_asked = DELEGATE_TOKEN if self.is_asked else PAD_TOKEN, False
            return text, None
        frame, pcm = self.at_frame, _said(self.line % 8, self.at_frame)
        text = LINE_TOKEN + self.line if not frame else PAD_TOKEN if frame % SYLLABLE_FRAMES else WORD_TOKEN
        self.at_frame += 1
        if self.at_frame == LINE_FRAMES:
            self._end_line()
        return text, pcm

    def _end_line(self) -> None:
        self.line, self.at_frame = self.line + 1, None


class StandIn:
    """A `Stepper` without a model; see the module's docstring."""

    def __init__(
        self,
        num_slots: int,
        *,
        mode: Literal["talk", "echo"] = "talk",
        step_s: float = 0.004,
        row_step_s: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._parties: list[_Party | None] = [None] * num_slots
        self._mode, self._step_s = mode, step_s
        if row_step_s is None:
            row_step_s = min(ROW_STEP_S, (FULL_STEP_S - step_s) / num_slots)
        self._row_step_s = row_step_s
        self._clock: Clock = SystemClock() if clock is None else clock
        self._failures: dict[int, Callable[[], None]] = {
            FORCE_RAISE: self._raise,
            FORCE_HANG: self._hang,
            FORCE_EXIT: lambda: os._exit(EXIT_STATUS),
        }

    @property
    def num_slots(self) -> int:
        """Rows of the batch."""
        return len(self._parties)

    def start(
        self,
        slot: int,
        *,
        seed: int,
        profile: CallProfile = DEFAULT_PROFILE,
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """Reset a slot: it greets, or goes on after the last line of the history (int16 [T, 17]).

        It has one voice and plays no role. Raises PromptError for another.
        """
        if profile.voice not in ("", *VOICES):
            raise PromptError(f"there is no voice {profile.voice!r}; there is {', '.join(VOICES)}")
        if profile.role:
            raise PromptError("the stand-in plays no role")
        party = _Party(at_frame=0)
        if history is not None:
            if history.ndim != 2 or history.shape[1] != NUM_COLUMNS:
                raise ValueError(f"history of shape {history.shape} where [T, {NUM_COLUMNS}] is wanted")
            lines = history[history[:, 0] >= LINE_TOKEN, 0] - LINE_TOKEN
            party = _Party(line=int(lines.max()) + 1 if len(lines) else 0)
        self._parties[slot] = party

    def say(self, slot: int, tokens: Sequence[int]) -> None:
        """Say these tokens next, one a step."""
        self._party(slot).to_say = list(tokens)

    def silence(self, slot: int, frames: int) -> None:
        """Be silent for so many steps."""
        self._party(slot).num_quiet = frames

    def age(self, frames: int) -> None:
        """Make free slots steppable; a stand-in costs the same at every age."""
        self._parties = [_Party() if party is None else party for party in self._parties]

    def force_text(self, slot: int, token: int) -> None:
        """Make the slot fail if the token is one of FORCE_*; else its next step emits this token."""
        self._party(slot).forced = token

    def stop(self, slot: int) -> None:
        """Forget the slot's call."""
        self._parties[slot] = None

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> StandInOutput:
        """Advance the active rows by one frame and last as long as a model would."""
        began_s = self._clock.now()
        size = self.num_slots
        assert pcm.shape == (size, FRAME_SAMPLES) and active.shape == (size,), (pcm.shape, active.shape)
        out = StandInOutput(
            np.zeros_like(pcm),
            np.full(size, -1, np.int32),
            np.full(size, -1, np.int32),
            np.zeros((size, NUM_COLUMNS), np.int16),
        )
        rows = np.flatnonzero(active)
        power = np.einsum("st,st->s", pcm[rows], pcm[rows]) / FRAME_SAMPLES
        for slot, is_voiced in zip(rows.tolist(), (power > VOICED_POWER).tolist(), strict=True):
            self._advance(slot, pcm[slot], is_voiced, out)
        self._clock.sleep_until(began_s + self._step_s + self._row_step_s * int(active.sum()))
        return out

    def _advance(self, slot: int, pcm: NDArray[np.float32], is_voiced: bool, out: StandInOutput) -> None:
        party = self._party(slot)
        forced = party.forced
        if forced in self._failures:
            self._failures[forced]()
        party.forced = None
        out.caller_text[slot] = party.hear(is_voiced)
        text, sound = party.speak()
        out.text[slot] = text if forced is None else forced
        if self._mode == "echo":
            out.pcm[slot] = pcm
        elif sound is not None:
            out.pcm[slot] = sound
        if forced == FORCE_NAN:
            out.pcm[slot, 0] = np.nan
        out.tokens[slot, 0] = out.text[slot]

    def _party(self, slot: int) -> _Party:
        party = self._parties[slot]
        assert party is not None, f"slot {slot} was not started"
        return party

    def _raise(self) -> None:
        raise RuntimeError("a forced failure")

    def _hang(self) -> None:
        self._clock.sleep_until(self._clock.now() + 3600.0)
