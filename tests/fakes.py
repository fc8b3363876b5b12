"""Fakes of our own seams, for unit tests: a call that moves tick by tick, a slot that answers as told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.clock import ManualClock
from agent.errors import AgentError
from agent.slot import SlotReply
from telephony.endpoint import (
    FRAME_SAMPLES,
    TICK_S,
    TICK_SAMPLES,
    TICKS_PER_FRAME,
    EndpointEvent,
    EndpointEventKind,
    EndpointStats,
    HeardFrame,
)

Pcm = NDArray[np.float32]


class FakeEndpoint:
    """A `MediaEndpoint` whose bridge clock is `tick`; what was played is kept in `heard_by_caller`."""

    def __init__(self, clock: ManualClock | None = None, call_id: str = "call-1") -> None:
        self.clock = clock or ManualClock()
        self.call_id = call_id
        self.remote = "sip:+15550100@192.0.2.7"
        self.latest: HeardFrame | None = None
        self.tick_number = 0
        self.phase = 0
        self.pressed = ""
        self.referred_to: list[str] = []
        self.hung_up: tuple[int, str] | None = None
        self.heard_by_caller = np.zeros(0, np.float32)
        self.num_flushed = 0
        self.figures = EndpointStats(codec="PCMU/8000")
        self._queue = np.zeros(0, np.float32)
        self._heard: list[Pcm] = []
        self._played: list[Pcm] = []
        self._frames: asyncio.Queue[HeardFrame | None] = asyncio.Queue()
        self._events: asyncio.Queue[EndpointEvent] = asyncio.Queue()
        self._is_over = False

    @property
    def queued_samples(self) -> int:
        return len(self._queue)

    def tick(self, caller: Pcm | None = None) -> None:
        """Let 20 ms pass: play 480 queued samples, hear `caller` (silence by default)."""
        self.clock.advance(TICK_S)
        self.tick_number += 1
        played = np.zeros(TICK_SAMPLES, np.float32)
        head = self._queue[:TICK_SAMPLES]
        if 0 < len(head) < TICK_SAMPLES or (not len(head) and self.heard_by_caller[-1:].any()):
            self.figures = replace(self.figures, playout_underruns=self.figures.playout_underruns + 1)
        played[: len(head)] = head
        self._queue = self._queue[TICK_SAMPLES:]
        self.heard_by_caller = np.concatenate([self.heard_by_caller, played])
        self._heard.append(np.zeros(TICK_SAMPLES, np.float32) if caller is None else caller)
        self._played.append(played)
        if self.tick_number % TICKS_PER_FRAME == self.phase and len(self._heard) >= TICKS_PER_FRAME:
            last = slice(-TICKS_PER_FRAME, None)
            heard, said = np.concatenate(self._heard[last]), np.concatenate(self._played[last])
            self._heard, self._played = [], []
            self._frames.put_nowait(HeardFrame(heard, said, self.tick_number, self.clock.now()))

    def frame(self, caller: Pcm | None = None) -> None:
        """Let 80 ms pass."""
        pcm = np.zeros(FRAME_SAMPLES, np.float32) if caller is None else caller
        for part in pcm.reshape(TICKS_PER_FRAME, TICK_SAMPLES):
            self.tick(part)

    def happen(
        self, kind: EndpointEventKind, *, digit: str = "", code: int = 0, is_ours: bool = False
    ) -> None:
        """Let an event of the wire arrive."""
        event = EndpointEvent(kind, self.clock.now(), digit=digit, code=code, is_ours=is_ours)
        self._events.put_nowait(event)
        if kind is EndpointEventKind.ENDED:
            self._is_over = True
            self._frames.put_nowait(None)

    async def frames(self) -> AsyncIterator[Pcm]:
        while (frame := await self._frames.get()) is not None:
            self.latest = frame
            yield frame.pcm

    async def events(self) -> AsyncIterator[EndpointEvent]:
        while True:
            event = await self._events.get()
            yield event
            if event.kind is EndpointEventKind.ENDED:
                return

    def set_frame_phase(self, phase: int) -> None:
        assert 0 <= phase < TICKS_PER_FRAME, phase
        self.phase = phase

    def send(self, pcm: Pcm) -> None:
        assert pcm.dtype == np.float32 and pcm.ndim == 1, (pcm.dtype, pcm.shape)
        self._queue = np.concatenate([self._queue, pcm])

    def flush(self) -> int:
        dropped, self._queue = len(self._queue), np.zeros(0, np.float32)
        self.num_flushed += 1
        return dropped

    def send_dtmf(self, digits: str) -> None:
        self.pressed += digits

    def refer(self, target: str) -> None:
        self.referred_to.append(target)

    def hang_up(self, code: int = 200, reason: str = "") -> None:
        if not self._is_over:
            self.hung_up = (code, reason)
            self.happen(EndpointEventKind.ENDED, code=code, is_ours=True)

    def stats(self) -> EndpointStats:
        return self.figures


UNKNOWN = 0  # as SentencePiece spells what it has no piece for
PAD, HANG_UP, TRANSFER, NOBODY, DELEGATE = 3, 4, 5, 6, 7
WORDS = {10: "▁good", 11: "bye", 12: "▁hello", 13: "▁latte"}


class FakeTokens:
    """A tokenizer of four words."""

    hangup, transfer, nobody, delegate = HANG_UP, TRANSFER, NOBODY, DELEGATE

    def encode(self, text: str) -> list[int]:
        spelt = {word.removeprefix("▁"): token for token, word in WORDS.items()}
        return [spelt.get(word, UNKNOWN) for word in text.split()]

    def piece(self, token: int) -> str:
        return WORDS.get(token, "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a fake slot makes of one caller frame."""

    pcm: Pcm | None = None  # silence
    text: int = PAD
    caller_text: int = PAD


class FakeSlot:
    """A model's slot that answers every frame at once, as `answer(number, caller frame)` says."""

    def __init__(
        self, clock: ManualClock, answer: Callable[[int, Pcm], Answer | None], worker_id: str = "w0"
    ) -> None:
        self.worker_id = worker_id
        self.clock = clock
        self.heard: list[Pcm] = []
        self.forced: list[int] = []
        self.said: list[list[int]] = []
        self.silences: list[int] = []
        self.num_releases = 0
        self._answer = answer
        self._error: AgentError | None = None
        self._replies: asyncio.Queue[SlotReply | AgentError | None] = asyncio.Queue()

    async def send(self, pcm: Pcm) -> int:
        if self._error is not None:
            raise self._error
        number = len(self.heard)
        self.heard.append(pcm)
        answer = self._answer(number, pcm)
        if answer is not None:
            sound = np.zeros(FRAME_SAMPLES, np.float32) if answer.pcm is None else answer.pcm
            now = self.clock.now()
            row = np.array([answer.text, number, 0], np.int16)
            reply = SlotReply(number, sound, answer.text, answer.caller_text, row, now, now, now, 0.01)
            self._replies.put_nowait(reply)
        return number

    async def replies(self) -> AsyncIterator[SlotReply]:
        while (item := await self._replies.get()) is not None:
            if isinstance(item, AgentError):
                raise item
            yield item

    async def force_text(self, token: int) -> None:
        self.forced.append(token)

    async def say(self, tokens: Sequence[int]) -> bool:
        self.said.append(list(tokens))
        return True

    async def silence(self, frames: int) -> bool:
        self.silences.append(frames)
        return True

    async def release(self) -> None:
        self.num_releases += 1
        self._replies.put_nowait(None)

    def lose(self, error: AgentError) -> None:
        """Let the worker die."""
        self._error = error
        self._replies.put_nowait(error)


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)
