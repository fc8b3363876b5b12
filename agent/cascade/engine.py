"""The cascade as an engine, `OFFHOOK_WORKER__ENGINE=cascade`: the model's seam, call path and metrics.

A step costs the engine's thread well under a millisecond a call: hearing runs in a process for each slot,
dialogue and synthesis on a thread for each, and their results come ticks later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.cascade.ear import Ear, Heard
from agent.cascade.ear_process import Frame, RemoteEar
from agent.cascade.lanes import ThreadLane, VirtualLane
from agent.cascade.party import CALLER_COLUMN, NUM_COLUMNS, TEXT_COLUMN, Hearing, Party, Talking, said_in
from agent.cascade.talker import Talker
from agent.cascade.voice_activity import network_file
from agent.settings import CascadeSettings
from agent.wire import DEFAULT_PROFILE, FRAME_SAMPLES
from model.control import CallProfile
from model.errors import PromptError
from model.tokenizer import TextTokenizer

EAR_QUEUE = 50  # frames, 4 s: what an ear may be behind before the oldest are dropped
TALKER_QUEUE = 8
NO_TOKEN = -1


@dataclass(frozen=True, slots=True)
class CascadeOutput:
    """As `model.engine.StepOutput`."""

    pcm: NDArray[np.float32]
    text: NDArray[np.int32]
    caller_text: NDArray[np.int32]
    tokens: NDArray[np.int16]


class Cascade:
    """A `Stepper` made of a recogniser, a dialogue and a synthesiser."""

    def __init__(
        self,
        num_slots: int,
        settings: CascadeSettings,
        tokenizer: TextTokenizer,
        ears: Sequence[Ear] | None = None,
    ) -> None:
        """With `ears`, one a slot, it is for calls without a clock: `step` does all work, and waits its time.

        Raises ConfigError if a package is missing that only this engine needs, EarLost if no ear starts.
        """
        network_file()
        self.tokenizer, self._settings = tokenizer, settings
        self._ears: list[RemoteEar] = []
        if ears is not None:
            self._lanes = [self._virtual_lanes(ear) for ear in ears]
        else:
            self._ears = [RemoteEar(settings) for _ in range(num_slots)]  # they load side by side
            for ear in self._ears:
                ear.wait_ready()
            self._lanes = [self._thread_lanes(ear) for ear in self._ears]
        self._parties: list[Party | None] = [None] * num_slots
        self._log = structlog.get_logger("agent.cascade")

    def _virtual_lanes(self, ear: Ear) -> tuple[Hearing, Talking]:
        own = self._settings

        def hear(frame: Frame) -> Iterator[Heard]:
            if frame is None:
                ear.reset()
            else:
                yield ear.hear(frame)

        is_alone = not (own.llm_url or own.stt_url or own.tts_url)
        timer = time.thread_time if is_alone else time.monotonic  # another's work takes no time of ours
        return VirtualLane(hear, time.thread_time), VirtualLane(Talker(self._settings).work, timer)

    def _thread_lanes(self, ear: RemoteEar) -> tuple[Hearing, Talking]:
        return (
            ThreadLane(ear.work, "ear", EAR_QUEUE),
            ThreadLane(Talker(self._settings).work, "talker", TALKER_QUEUE),
        )

    @property
    def num_slots(self) -> int:
        """Rows of the batch."""
        return len(self._parties)

    @property
    def takes_role(self) -> bool:
        """Whether a profile may hold a role: a language model plays one, rules do not."""
        return bool(self._settings.llm_url)

    def start(
        self,
        slot: int,
        *,
        seed: int,
        profile: CallProfile = DEFAULT_PROFILE,
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """Begin a call, or go on with one of which the history int16 [T, 3] is left.

        Raises PromptError for a voice, a role without a language model, or another engine's history.
        """
        if profile.voice:
            raise PromptError("the cascade has one voice; leave OFFHOOK_AGENT__VOICE out")
        if profile.role and not self.takes_role:
            raise PromptError(
                "the order line's rules play no role; set OFFHOOK_CASCADE__LLM_URL, or leave it out"
            )
        if history is not None and (history.ndim != 2 or history.shape[1] != NUM_COLUMNS):
            raise PromptError(
                f"history has shape {list(history.shape)}; the cascade's rows hold {NUM_COLUMNS}"
            )
        party = Party(*self._lanes[slot], self.tokenizer, self._settings)
        party.begin(profile.role, None if history is None else said_in(history, self.tokenizer))
        self._parties[slot] = party

    def say(self, slot: int, tokens: Sequence[int]) -> None:
        """Say these tokens' words next, in place of what is being said; none: stop."""
        self._party(slot).say(self.tokenizer.decode(list(tokens)))

    def silence(self, slot: int, frames: int) -> None:
        """Be silent for so many steps; what was being said goes on afterwards."""
        self._party(slot).be_silent(frames)

    def force_text(self, slot: int, token: int) -> None:
        """The slot's next step gives this text token."""
        self._party(slot).force(token)

    def age(self, frames: int) -> None:
        """Make free slots steppable; a cascade costs the same at every age."""
        for slot, party in enumerate(self._parties):
            if party is None:
                self.start(slot, seed=0)

    def stop(self, slot: int) -> None:
        """The slot's call is over."""
        if self._parties[slot] is not None:
            for lane in self._lanes[slot]:
                lane.clear()
        self._parties[slot] = None

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> CascadeOutput:
        """Advance the active rows by one frame: float32 [S, 1920], bool [S].

        A slot whose ear or talker came to grief gives NaN, so that its call alone fails.
        """
        size = self.num_slots
        assert pcm.shape == (size, FRAME_SAMPLES) and active.shape == (size,), (pcm.shape, active.shape)
        out = CascadeOutput(
            np.zeros_like(pcm),
            np.full(size, NO_TOKEN, np.int32),
            np.full(size, NO_TOKEN, np.int32),
            np.zeros((size, NUM_COLUMNS), np.int16),
        )
        for slot in np.flatnonzero(active).tolist():
            try:
                out.pcm[slot], out.text[slot], out.caller_text[slot] = self._party(slot).step(pcm[slot])
            except Exception:
                self._log.exception("cascade_failed", slot=slot)
                out.pcm[slot] = np.nan
            out.tokens[slot, TEXT_COLUMN] = out.text[slot]
            out.tokens[slot, CALLER_COLUMN] = out.caller_text[slot]
        return out

    def close(self) -> None:
        """End threads and processes."""
        for lanes in self._lanes:
            for lane in lanes:
                lane.close()
        for ear in self._ears:
            ear.close()

    def _party(self, slot: int) -> Party:
        party = self._parties[slot]
        assert party is not None, f"slot {slot} was not started"
        return party
