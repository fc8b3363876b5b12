"""The frame loop of one call: every caller frame goes to the model, every step of the model to the caller.

Event loop only; no call here blocks. The model's tokens steer: `hangup`, `transfer` and `delegate` become
signals, all others are words. Nothing here decides who may speak: when the model falls silent under the
caller's voice, what still waits for playout is dropped, so that the stop is heard at once.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.clock import Now
from agent.floor import FloorEvent, FloorTracker
from agent.hold_music import ComfortTone, HoldMusic
from agent.latency import BridgeTimes, TurnTimes, down_delay_s, line_delay_s, up_delay_s
from agent.playout import DcBlocker, Playout, SilenceGate
from agent.recording import Recorder
from agent.slot import SlotFault, SlotReply, WorkerLost
from agent.transcript import WORD_MARK, Pieces, Speaker, TimedWord, Transcript
from telephony.endpoint import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    TICK_SAMPLES,
    TICKS_PER_FRAME,
    HeardFrame,
    MediaEndpoint,
    path_samples,
)

Pcm = NDArray[np.float32]

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
HISTORY_FRAMES = 500  # 40 s of tokens: what re-primes a slot elsewhere
CALLER_FRAMES = 25  # 2 s of the caller's sound, which warms the codec there
MAX_LOST_TICKS = 3_000  # a minute: what one hole in the caller's frames may cost
LEAST_FRAMES = 6  # before a wish of the model's is obeyed: its text runs ahead of its voice
STATS_FRAMES = 12  # a second or so: the endpoint's own figures change no more often
QUIET_FRAMES = 5  # 400 ms of the model's silence: it has said what it had to say


class Tokens(Pieces, Protocol):
    """The model's tokenizer, as far as a call needs it."""

    def encode(self, text: str) -> list[int]:
        """The text as tokens, one for each piece."""

    @property
    def hangup(self) -> int:
        """Sampled by the model: the call is over once this has been said."""

    @property
    def transfer(self) -> int:
        """Sampled by the model: a person shall take over."""

    @property
    def delegate(self) -> int:
        """Sampled by the model: somebody else knows, find it out."""

    @property
    def nobody(self) -> int:
        """Forced on the model: there is nobody to take over, say so."""


def sayable(tokens: Tokens, text: str) -> list[int]:
    """The text's tokens that have a sound, none if that is no more than gaps between words; a letter that the
    model does not know is left out."""
    found = [token for token in tokens.encode(text) if tokens.piece(token)]
    return found if any(tokens.piece(token).strip(WORD_MARK) for token in found) else []


class ModelSlot(Protocol):
    """A claimed slot of some worker, for one call: `agent.slot.Slot`. None of these waits for the worker."""

    @property
    def worker_id(self) -> str:
        """Whose slot it is."""

    async def send(self, pcm: Pcm) -> int:
        """Hand over the next caller frame, float32 [1920]; its number. Raises WorkerLost, SlotFault."""

    def replies(self) -> AsyncIterator[SlotReply]:
        """One per caller frame that was stepped. Raises WorkerLost, SlotFault when there will be no more."""

    async def force_text(self, token: int) -> None:
        """Let the next step take this text token. Raises WorkerLost, SlotFault."""

    async def say(self, tokens: Sequence[int]) -> bool:
        """Let the agent say these text tokens next; False if they cannot be sent. Raises as `send`."""

    async def silence(self, frames: int) -> bool:
        """Keep the agent silent for so many frames; False if that cannot be sent. Raises as `send`."""

    async def release(self) -> None:
        """Give the slot back; harmless twice, and when it is lost."""


class Signal(StrEnum):
    """What the model asks of the session."""

    HANG_UP = "hang_up"
    TRANSFER = "transfer"
    DELEGATE = "delegate"


class Duplex:
    """One call's two streams; `hear` and `converse` run side by side until the session ends them."""

    def __init__(
        self,
        endpoint: MediaEndpoint,
        tokens: Tokens,
        now: Now,
        *,
        recorder: Recorder | None = None,
        on_word: Callable[[TimedWord], None] | None = None,
        on_frame: Callable[[HeardFrame], None] | None = None,
        transport: str = "sip",
    ) -> None:
        self.playout = Playout(endpoint)
        self.transcript = Transcript(tokens)
        self.floor = FloorTracker()
        self.turns = TurnTimes(transport)
        self.bridge = BridgeTimes()
        self.signals: asyncio.Queue[Signal] = asyncio.Queue(8)  # further ones are dropped: they say the same
        self.is_held = False  # the caller hears nothing, the model hears silence
        self.is_caller_muted = False  # at their own wish: nobody hears them, and no recording
        self.is_muted = False  # a transfer is under way: the model keeps quiet
        self.music: HoldMusic | ComfortTone | None = None  # heard meanwhile
        self.may_record = True
        self.num_said = 0  # tokens of given sentences, said so far where they could be heard
        self.frames_heard = 0
        self.frames_answered = 0
        self._endpoint = endpoint
        self._tokens = tokens
        self._now = now
        self._recorder = recorder
        self._on_word = on_word
        self._on_frame = on_frame
        self._slot: ModelSlot | None = None
        self._centre = DcBlocker()
        self._silence = SilenceGate()
        self._comfort = ComfortTone()
        self._history: deque[NDArray[np.int16]] = deque(maxlen=HISTORY_FRAMES)
        self._caller: deque[Pcm] = deque(maxlen=CALLER_FRAMES)
        self._first_tick: int | None = None
        self._last_tick = 0
        self._last_number = 0
        self._quiet_frames = 0
        wishes = {
            tokens.hangup: Signal.HANG_UP,
            tokens.transfer: Signal.TRANSFER,
            tokens.delegate: Signal.DELEGATE,
        }
        self._wishes = {token: signal for token, signal in wishes.items() if token >= 0}
        self._to_say: deque[int] = deque()  # of the sentence given to the model, what it has not said yet
        self._jitter_buffer_s = 0.0  # of late
        self._stepped = asyncio.Event()  # replaced at each step, so that every waiter sees the next one

    @property
    def audio_s(self) -> float:
        """The audio clock: seconds from the first sample of the first frame to the end of the latest."""
        latest = self._endpoint.latest
        if latest is None or self._first_tick is None:
            return 0.0
        return (latest.tick - self._first_tick) * TICK_SAMPLES / SAMPLE_RATE_HZ

    @property
    def history(self) -> NDArray[np.int16]:
        """What the model has lived through of late, int16 [T, 1 + 2K], T <= 500."""
        return np.stack(self._history) if self._history else np.zeros((0, 0), np.int16)

    @property
    def caller_pcm(self) -> Pcm:
        """The caller's last seconds, float32 [T]."""
        return np.concatenate(self._caller) if self._caller else np.zeros(0, np.float32)

    async def hear(self) -> None:
        """Take caller frames until the call ends; while no slot answers, the caller gets the comfort tone."""
        async for _ in self._endpoint.frames():
            heard = self._endpoint.latest
            assert heard is not None
            if self._first_tick is None:
                self._first_tick = self._last_tick = heard.tick - TICKS_PER_FRAME
            await self._hear_frame(heard)

    async def converse(self, slot: ModelSlot) -> None:
        """Let this slot answer; returns once it is released.

        Raises WorkerLost or SlotFault when it is gone; from then on the caller hears the comfort tone.
        """
        self._slot = slot
        try:
            async for reply in slot.replies():
                self._answer(reply)
        finally:
            self._slot = None

    async def force(self, token: int) -> None:
        """Tell the model something; lost when no slot answers just now, or the model knows no such token."""
        if self._slot is not None and token >= 0:
            with contextlib.suppress(WorkerLost, SlotFault):  # `converse` tells
                await self._slot.force_text(token)

    async def say(self, tokens: Sequence[int]) -> bool:
        """Give the model a sentence in place of an earlier one; False when no slot answers just now."""
        if self._slot is None:
            return False
        try:
            is_sent = await self._slot.say(tokens)
        except (WorkerLost, SlotFault):  # `converse` tells
            return False
        if is_sent:
            self._to_say = deque(tokens)
        return is_sent

    async def greet(self, slot: ModelSlot, tokens: Sequence[int]) -> None:
        """Give a fresh slot its first sentence, before `converse`. Raises WorkerLost, SlotFault."""
        if await slot.say(tokens):
            self._to_say = deque(tokens)

    async def silence(self, frames: int) -> bool:
        """Keep the model silent for so many frames; False when no slot answers just now."""
        if self._slot is None:
            return False
        try:
            return await self._slot.silence(frames)
        except (WorkerLost, SlotFault):  # `converse` tells
            return False

    def forget_sentence(self) -> int:
        """The slot is lost, and with it what it had still to say: so many tokens."""
        num_left = len(self._to_say)
        self._to_say.clear()
        return num_left

    async def until_quiet(self, at_least: int = LEAST_FRAMES, limit_s: float = 8.0) -> None:
        """Return when the model has fallen silent and the caller has heard all of it, or after `limit_s`.

        `at_least` frames pass in any case: the text runs ahead of the voice.
        """
        try:
            async with asyncio.timeout(limit_s):
                frames = 0
                while frames < at_least or self._quiet_frames < QUIET_FRAMES:
                    await self._stepped.wait()
                    frames += 1
        except TimeoutError:
            return

    def finish(self) -> None:
        """The call is over: judge and write down what was still open."""
        for event in self.floor.finish():
            self.turns.note(event, self._line_delay_s)
        for word in self.transcript.finish():
            self._tell(word)

    def _measure(self, pcm: Pcm, heard: HeardFrame) -> list[FloorEvent]:
        """Feed the floor tracker; lost frames pass as silence, so that its clock stays the call's."""
        lost = min(heard.tick - self._last_tick - TICKS_PER_FRAME, MAX_LOST_TICKS)
        self._last_tick = heard.tick
        events: list[FloorEvent] = []
        if lost > 0:
            nothing = np.zeros(lost * TICK_SAMPLES, np.float32)
            events = self.floor.push(nothing, nothing)
        return events + self.floor.push(pcm, heard.played)

    async def _hear_frame(self, heard: HeardFrame) -> None:
        self.frames_heard += 1
        if self.is_caller_muted:
            heard = replace(heard, pcm=np.zeros_like(heard.pcm))
        pcm = np.zeros_like(heard.pcm) if self.is_held else heard.pcm
        self._caller.append(pcm)
        if self._slot is not None:
            with contextlib.suppress(WorkerLost, SlotFault):  # `converse` tells
                self._last_number = await self._slot.send(pcm)
            # Every call's frame is due at the same tick: all leave before any is looked at more closely.
            await asyncio.sleep(0)
        elif not self.is_held:
            self.playout.push(self._comfort.next())
        for event in self._measure(pcm, heard):
            self.turns.note(event, self._line_delay_s)
        if self._on_frame is not None:
            self._on_frame(heard)
        if self._recorder is not None and self.may_record:
            self._recorder.push(heard, path_samples(self._endpoint.stats().codec))

    def _answer(self, reply: SlotReply) -> None:
        self.frames_answered += 1
        self._history.append(reply.tokens)
        if self._to_say and reply.text == self._to_say[0]:
            self._to_say.popleft()
            self.num_said += not (self.is_held or self.is_muted)
        was_sounding = self._silence.is_sounding
        frame = self._silence.push(self._centre.push(reply.pcm))
        if self.is_held or self.is_muted:
            frame = np.zeros_like(frame)
        if self.music is not None and not self.is_held:
            frame = self.music.next()
        self._quiet_frames = 0 if frame.any() else self._quiet_frames + 1
        if was_sounding and not self._silence.is_sounding and self.floor.caller_gate.is_speaking:
            self.playout.flush()
        sent_s = self._now()
        self.playout.push(frame)
        self._read(reply, sent_s)
        stepped, self._stepped = self._stepped, asyncio.Event()
        stepped.set()

    def _read(self, reply: SlotReply, sent_s: float) -> None:
        """Words, signals and times of one step."""
        heard = self._endpoint.latest
        if heard is None:
            return
        queued = self.playout.queued_before_samples
        played_s = self.audio_s + max(0.0, sent_s - heard.at_s) + queued / SAMPLE_RATE_HZ
        heard_s = self.audio_s - (self._last_number - reply.number) * FRAME_S
        self._tell(self.transcript.push(Speaker.AGENT, reply.text, played_s))
        self._tell(self.transcript.push(Speaker.CALLER, reply.caller_text, heard_s))
        if reply.text in self._wishes:
            self._signal(self._wishes[reply.text])
        if self.frames_answered % STATS_FRAMES == 1:
            self._jitter_buffer_s = self._endpoint.stats().jitter_buffer_s
        up_s = up_delay_s(heard, self._jitter_buffer_s, reply.collected_s)
        if reply.number == self._last_number:  # else `heard` is a later frame's
            self.bridge.note(up_s, down_delay_s(heard, reply.delivered_s, sent_s, queued))

    @property
    def _line_delay_s(self) -> float:
        """From the caller's mouth to our bridge and back to the caller's ear."""
        stats = self._endpoint.stats()
        return line_delay_s(stats.codec, stats.jitter_buffer_s)

    def _signal(self, signal: Signal) -> None:
        if not self.signals.full():
            self.signals.put_nowait(signal)

    def _tell(self, word: TimedWord | None) -> None:
        if word is not None and self._on_word is not None:
            self._on_word(word)
