"""An engine of our own whose agents behave as planted: what a scorer must find is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from agent.energy_gate import Pcm
from agent.wire import DEFAULT_PROFILE
from model.control import CallProfile
from model.voices import AGENT_VOICE, synthesize
from telephony.audio import dbfs
from telephony.endpoint import FRAME_SAMPLES
from tests.agent.evaluation.scenes import channel

PAD = 3
HANG_UP, TRANSFER, NOBODY, DELEGATE = 700, 701, 702, 703
FRAME_S = 0.08
VOICED_DBFS = -45.0


@dataclass(frozen=True, slots=True)
class Manners:
    """How an agent behaves; times in seconds, kept to a frame."""

    line: str = "We are open from seven in the morning to six at night."
    greeting: str = "Off hook coffee. What can I get you?"
    is_buzz: bool = True  # lines are a buzz as long as they would take: no breaks but the planted ones
    answers_after_s: float = 0.24  # of the caller's silence
    yields_after_s: float | None = 0.24  # of the caller's voice; None: never
    breaks_s: float = 0.0  # a break of so long instead of yielding; 0: it stops for good
    told: str = ""  # what it writes as the caller's words, once a turn


@cache
def spoken_line(line: str) -> Pcm:
    """The agent's voice from its first word's start to its last one's end, float32 [T]."""
    spoken = synthesize(line, AGENT_VOICE)
    start, end = (round(at_s * 24_000) for at_s in (spoken.words[0].start_s, spoken.words[-1].end_s))
    return spoken.pcm[start:end]


@dataclass(slots=True)
class Party:
    """One slot's agent."""

    manners: Manners
    num_lines: int = 0
    heard_s: float = 0.0  # of voice since the caller began
    quiet_s: float = 0.0
    break_s: float = 0.0
    left: Pcm = field(default_factory=lambda: np.zeros(0, np.float32))
    text: int = PAD
    caller_text: int = PAD

    def step(self, frame: Pcm) -> Pcm:
        """Hear one frame, say one."""
        self.text = self.caller_text = PAD
        if dbfs(frame) > VOICED_DBFS:
            self.heard_s, self.quiet_s = self.heard_s + FRAME_S, 0.0
        else:
            self.quiet_s += FRAME_S
        self._listen()
        if self.break_s > 1e-6:
            self.break_s -= FRAME_S
            return np.zeros(FRAME_SAMPLES, np.float32)
        now, self.left = self.left[:FRAME_SAMPLES], self.left[FRAME_SAMPLES:]
        return np.pad(now, (0, FRAME_SAMPLES - len(now)))

    def _listen(self) -> None:
        patience_s = self.manners.yields_after_s
        if len(self.left) and patience_s is not None and self.heard_s >= patience_s - 1e-6:
            self.heard_s = 0.0 if self.manners.breaks_s else self.heard_s
            self.break_s = self.manners.breaks_s
            self.left = self.left if self.manners.breaks_s else self.left[:0]
        if self.quiet_s < self.manners.answers_after_s - 1e-6:
            return
        if self.heard_s > 0 and not len(self.left):
            self._say(self.manners.line)
            self.caller_text = 600 if self.manners.told else PAD
        self.heard_s = 0.0

    def _say(self, line: str) -> None:
        spoken = spoken_line(line)
        self.left = channel([(0.0, 60.0)], len(spoken) / 24_000) if self.manners.is_buzz else spoken
        self.num_lines += 1


@dataclass(frozen=True, slots=True)
class Output:
    """As `model.engine.StepOutput`."""

    pcm: NDArray[np.float32]
    text: NDArray[np.int32]
    caller_text: NDArray[np.int32]
    tokens: NDArray[np.int16]


class Parties:
    """A `Stepper` of planted agents, and their tokenizer."""

    hangup, transfer, nobody, delegate = HANG_UP, TRANSFER, NOBODY, DELEGATE

    def __init__(self, manners: Manners, num_slots: int = 1) -> None:
        self.manners, self.num_slots = manners, num_slots
        self.parties: list[Party | None] = [None] * num_slots
        self.forced: list[int] = []
        self.told: list[list[int]] = []
        self.num_started = 0
        self.hangs_up_at = self.transfers_at = self.delegates_at = -1  # frame of a call
        self.num_frames = 0

    def encode(self, text: str) -> list[int]:
        """A token for each word."""
        return [1] * len(text.split())

    def piece(self, token: int) -> str:
        """Spelling."""
        return f"▁{self.manners.told}" if token == 600 else ""

    def start(
        self,
        slot: int,
        *,
        seed: int,
        profile: CallProfile = DEFAULT_PROFILE,
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """A call: it greets."""
        assert self.parties[slot] is None, "a slot was started twice"
        self.num_started += 1
        self.num_frames = 0
        self.parties[slot] = party = Party(self.manners)
        if self.manners.greeting:
            party._say(self.manners.greeting)

    def stop(self, slot: int) -> None:
        """The call is over."""
        self.parties[slot] = None

    def say(self, slot: int, tokens: Sequence[int]) -> None:
        """Noted, and said as so many words."""
        self.told.append(list(tokens))
        party = self.parties[slot]
        assert party is not None
        party._say(" ".join(["one"] * len(tokens)))

    def silence(self, slot: int, frames: int) -> None:
        """It speaks when it likes."""

    def age(self, frames: int) -> None:
        """It does not age."""

    def force_text(self, slot: int, token: int) -> None:
        """Noted."""
        self.forced.append(token)

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> Output:
        """One frame of every active slot: float32 [S, 1920]."""
        out = np.zeros_like(pcm)
        asks = {self.hangs_up_at: HANG_UP, self.transfers_at: TRANSFER, self.delegates_at: DELEGATE}
        asked = asks.get(self.num_frames)
        self.num_frames += 1
        text = np.full(self.num_slots, -1, np.int32)
        caller_text = text.copy()
        for slot in np.flatnonzero(active):
            party = self.parties[slot]
            assert party is not None
            out[slot] = party.step(pcm[slot])
            text[slot], caller_text[slot] = asked or party.text, party.caller_text
        return Output(out, text, caller_text, np.zeros((self.num_slots, 17), np.int16))
