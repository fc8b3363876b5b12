"""A call's place in a worker's batch, as the gateway sees it. Event loop only.

    number = await slot.send(pcm)            # float32 [1920], one caller frame; never waits
    async for reply in slot.replies():       # SlotReply, one per caller frame
        play(reply.pcm)
    await slot.release()                     # harmless when already over

`WorkerLost` (the connection is gone) and `SlotFault` (the engine failed in this slot) come out of `send`,
`force_text` and `replies`, whichever is used next; a `replies` that waits raises at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.errors import AgentError, NoFreeSlot, WorkerUnavailable
from agent.wire import FRAME_SAMPLES, CallerFrame, Claimed, ForceText, RefusalReason, Say, Silence
from telephony.audio import Pcm, to_int16

MAX_UNREAD_REPLIES = 8


class WorkerLost(WorkerUnavailable):
    """The connection to a worker is gone, and every slot that was held through it."""


class SlotFault(AgentError):
    """The engine failed in this slot (it raised, or its audio was not finite); the slot is free again."""


class ClaimRefused(NoFreeSlot):
    """The worker refused one claim."""

    def __init__(self, worker_id: str, reason: int, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        known = {r.value: r.name.lower() for r in RefusalReason}
        why = known.get(reason, f"reason {reason}") + (f" ({detail})" if detail else "")
        super().__init__(f"worker {worker_id} refused a claim: {why}")


class PromptRefused(ClaimRefused):
    """The model cannot take the call's profile (an unknown voice, say): trying again is no use."""


@dataclass(frozen=True, slots=True)
class SlotReply:
    """What the engine made of one caller frame; times in seconds of this machine's monotonic clock."""

    number: int  # of the caller frame
    pcm: Pcm  # float32 [1920]
    text: int  # agent text token
    caller_text: int  # caller-transcript token
    tokens: NDArray[np.int16]  # [1 + 2K]: a row of the history that can re-prime a slot
    collected_s: float
    delivered_s: float
    received_s: float
    step_s: float


class Carrier(Protocol):
    """The connection a slot is held through: `agent.worker_link.WorkerLink`."""

    @property
    def worker_id(self) -> str:
        """The worker's own name."""

    def next_tick_s(self, after_s: float) -> float:
        """The worker's first tick at or after `after_s`, on our clock."""

    def offer(self, message: CallerFrame | ForceText | Say | Silence) -> bool:
        """Send unless the stream is full."""

    def forget(self, slot: Slot) -> None:
        """The call is over."""


class Slot:
    """One call's place in a worker's batch."""

    def __init__(self, link: Carrier, claimed: Claimed) -> None:
        self._link = link
        self.index, self.generation = claimed.slot, claimed.generation
        self.start_seconds = claimed.start_seconds
        self._replies: deque[SlotReply] = deque(maxlen=MAX_UNREAD_REPLIES)
        self._news = asyncio.Event()
        self._error: AgentError | None = None
        self._is_released = False
        self._num_sent = 0
        self.num_replies_dropped = 0  # not read in time
        self.num_frames_dropped = 0  # the stream to the worker was full

    @property
    def worker_id(self) -> str:
        """Which worker it is in."""
        return self._link.worker_id

    def next_tick_s(self, after_s: float) -> float:
        """The worker's first tick at or after `after_s`, on our clock; a frame should be there before it."""
        return self._link.next_tick_s(after_s)

    async def send(self, pcm: Pcm) -> int:
        """Send the caller's next 80 ms, float32 [1920]; its number, which comes back in the reply.

        Never waits: when the stream is full the frame is dropped and counted. Raises WorkerLost, SlotFault.
        """
        assert pcm.shape == (FRAME_SAMPLES,), pcm.shape
        self._check()
        number = self._num_sent
        self._num_sent += 1
        if not self._link.offer(CallerFrame(self.index, self.generation, number, to_int16(pcm))):
            self.num_frames_dropped += 1
        return number

    async def force_text(self, token: int) -> None:
        """Let the slot's next step take this text token. Raises WorkerLost, SlotFault."""
        self._check()
        self._link.offer(ForceText(self.index, self.generation, token))

    async def say(self, tokens: Sequence[int]) -> bool:
        """Let the agent say these text tokens next, in place of what was queued; none: stop saying.

        False, and nothing is said, when the stream is full. Raises WorkerLost, SlotFault.
        """
        self._check()
        return self._link.offer(Say(self.index, self.generation, np.array(tokens, np.int32).reshape(-1)))

    async def silence(self, frames: int) -> bool:
        """Keep the agent silent for so many frames; 0 ends it.

        False when the stream is full. Raises WorkerLost, SlotFault.
        """
        self._check()
        return self._link.offer(Silence(self.index, self.generation, frames))

    async def replies(self) -> AsyncIterator[SlotReply]:
        """Every reply as it comes, until `release`. At most 8 wait; then the oldest is dropped and counted.

        Raises WorkerLost or SlotFault when the slot is lost; replies that wait then are not given out any
        more.
        """
        while not self._is_released:
            self._check()
            while self._replies and self._error is None and not self._is_released:
                yield self._replies.popleft()
            if self._error is None and not self._is_released:
                self._news.clear()
                await self._news.wait()

    async def release(self) -> None:
        """Give the slot back; ends `replies`."""
        if not self._is_released:
            self._is_released = True
            self._news.set()
            self._link.forget(self)

    def accept(self, reply: SlotReply) -> None:
        """Queue a reply. For the link."""
        self.num_replies_dropped += len(self._replies) == MAX_UNREAD_REPLIES
        self._replies.append(reply)
        self._news.set()

    def fail(self, error: AgentError) -> None:
        """Make everything raise `error` from now on. For the link."""
        self._error = error
        self._replies.clear()
        self._news.set()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
