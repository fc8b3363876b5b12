"""One call's life: what it owns, how it ends, and that everything is freed, whatever happens.

Event loop only. A session owns the endpoint, the model's slot, the transcript and the recording. `run` gives
the reason for the end, which is also the `result` of `offhook_calls_total`; failures become reasons here and
nowhere else. When the worker dies the call is kept: the caller hears a comfort tone, another slot is claimed
and given the tokens and the sound so far, and the conversation goes on.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from agent import metrics
from agent.answerer_watch import AnswererWatch
from agent.call_recording import CallRecording
from agent.call_stats import CallStats
from agent.delegate import Delegation, question_of
from agent.duplex import Duplex, ModelSlot, Signal, sayable
from agent.errors import EndReason
from agent.live_view import LiveCall, LiveView
from agent.machine_detection import Answerer
from agent.recovery import another_slot
from agent.said_lines import SaidLines
from agent.session_parts import Parts
from agent.slot import PromptRefused, SlotFault, WorkerLost
from agent.store import SessionRecord
from agent.transcript import TimedWord
from agent.transfer import TRYING, TransferOrder, TransferResult, Transfers
from agent.wire import MAX_SAY_TOKENS, MAX_SILENCE_FRAMES, PERIOD_S
from telephony.call import CallState
from telephony.endpoint import EndpointEvent, EndpointEventKind, HeardFrame, MediaEndpoint

MAX_FAULTS = 3  # engine failures in one call before the model is given up
END_TIMEOUT_S = 3.0  # how long a BYE may take to be answered
WATCH_S = 1.0
SIDECAR_EVERY = 5  # watches between two notes of the sidecar

log = structlog.get_logger(__name__)

WordListener = Callable[[TimedWord], None]
EndListener = Callable[[EndReason], None]


class Session:
    """One answered call."""

    def __init__(self, endpoint: MediaEndpoint, slot: ModelSlot, record: SessionRecord, parts: Parts) -> None:
        self.record = record
        self.num_recoveries = 0
        self._endpoint = endpoint
        self._slot: ModelSlot | None = slot
        self._parts = parts
        self._said = SaidLines()
        self._view = LiveView()
        self._word_listeners: list[WordListener] = [self._said.push, self._view.note_word]
        self._end_listeners: list[EndListener] = []
        self._duplex = Duplex(
            endpoint,
            parts.tokens,
            parts.now,
            recorder=parts.recorder,
            on_word=self._tell_word,
            on_frame=self._on_frame,
            transport=record.transport,
        )
        self._stats = CallStats(endpoint, parts.now)
        self._end: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()
        self._transfers = Transfers(endpoint, self._duplex, parts.desk, parts.now) if parts.desk else None
        self._answerer = AnswererWatch(parts.detector, self._on_answerer)
        self._stopped = asyncio.Event()  # after a handover: the operator, or our own end, ends it
        self._questions: asyncio.Queue[None] = asyncio.Queue(1)  # the model asks; again meanwhile is the same
        self._delegation = Delegation(parts.agent, parts.now, self._say)
        self._recording = CallRecording(parts, self._duplex)

    @property
    def audio_s(self) -> float:
        """The call's audio clock, which words are dated by."""
        return self._duplex.audio_s

    @property
    def trunk(self) -> str:
        """The trunk that the call came or went by, as the outbound rules name it."""
        return self._parts.trunk

    def listen(self, listener: WordListener) -> None:
        """Tell of every word of either side as soon as it is complete; the listener may not raise or wait."""
        self._word_listeners.append(listener)

    def listen_end(self, listener: EndListener) -> None:
        """Tell once why the call ends, while the peer can still be told; as `listen`."""
        self._end_listeners.append(listener)

    def mute_caller(self, is_muted: bool) -> None:
        """Let the model, and the recording, hear silence in place of the caller, or the caller again."""
        self._duplex.is_caller_muted = is_muted

    def hang_up(self, reason: EndReason) -> None:
        """Begin to end the call; the first reason stands."""
        if reason is not EndReason.TRANSFERRED:  # that is how a handover begins, not how it ends
            self._stopped.set()
        if not self._end.done():
            self._end.set_result(reason)
            self._tell_end(reason)

    def transfer(self, order: TransferOrder) -> bool:
        """Begin to hand the caller over; False while another is under way, or where there are none."""
        return self._transfers is not None and self._transfers.order(order)

    def live(self) -> LiveCall:
        """The call as it is now, for whoever watches."""
        gaps_s = self._duplex.turns.gaps_s
        return LiveCall(
            self.record,
            self._view,
            self._duplex.floor.holder.value,
            self._duplex.audio_s,
            round(gaps_s[-1], 3) if gaps_s else None,
            len(gaps_s),
            self._duplex.is_held,
            self.num_recoveries,
            self._recording.recording_id,
        )

    async def say(self, text: str) -> bool:
        """Let the agent say this next, in place of a sentence it has not finished.

        It is the answer to what the model has passed on, if it has. False when no model answers just now.
        Raises ValueError if there is nothing in it to say, or too much.
        """
        is_sent = await self._say(text)
        if is_sent:
            self._delegation.answered_by_operator()
        return is_sent

    async def _say(self, text: str) -> bool:
        tokens = sayable(self._parts.tokens, text)
        if not tokens:
            raise ValueError("it holds nothing that this model can say")
        if len(tokens) > MAX_SAY_TOKENS:
            raise ValueError(f"it takes {len(tokens)} tokens; {MAX_SAY_TOKENS} fit")
        self._recording.interrupted()  # what was not said to its end will not be
        is_sent = await self._duplex.say(tokens)
        log.info("say", num_tokens=len(tokens), is_sent=is_sent, pii_text=text)
        return is_sent

    async def silence(self, seconds: float) -> bool:
        """Keep the agent silent for so long, 0: no longer; False when no model answers just now."""
        frames = min(math.ceil(seconds / PERIOD_S), MAX_SILENCE_FRAMES)
        is_sent = await self._duplex.silence(frames)
        log.info("silence", seconds=seconds, is_sent=is_sent)
        return is_sent

    async def run(self) -> EndReason:
        """Live until the call ends; its reason. Everything is freed on return, also when cancelled."""
        kind = (self.record.direction, self.record.transport)
        active = metrics.CALLS_ACTIVE.labels(*kind)
        active.inc()
        reason = EndReason.SHUTTING_DOWN  # if we are cancelled
        began_s = self._parts.now()
        try:
            self._note(state=CallState.CONFIRMED.value, answered_at_ms=time.time_ns() // 1_000_000)
            reason = await self._live()
        except Exception:
            log.exception("session_failed")
            reason = EndReason.INTERNAL_ERROR
        finally:
            active.dec()
            metrics.CALLS.labels(*kind, reason.value).inc()
            metrics.CALL_DURATION_SECONDS.labels(*kind).observe(self._parts.now() - began_s)
            await self._free(reason)
        return reason

    async def _live(self) -> EndReason:
        jobs = (
            self._duplex.hear,
            self._converse,
            self._follow_events,
            self._obey,
            self._watch,
            self._look_up,
            self._hand_over,
            self._greet_the_machine,
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job()) for job in jobs]
            reason = await self._end
            for task in tasks:
                if task is not tasks[2]:  # events are followed until ENDED
                    task.cancel()
            if self._transfers is not None and self._transfers.handover is not None:
                await self._stay_out(self._transfers, tasks[2])
            self._endpoint.hang_up()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_TIMEOUT_S):
                    await asyncio.wait([tasks[2]])
            tasks[2].cancel()
        return reason

    async def _stay_out(self, transfers: Transfers, events: asyncio.Task[None]) -> None:
        """Caller and target talk: others get our slot; wait until either hangs up or we are told to."""
        slot, self._slot = self._slot, None
        if slot is not None:
            await slot.release()
        self._parts.let_go()
        stopped = asyncio.ensure_future(self._stopped.wait())

        async def gone() -> None:
            await asyncio.wait({events, stopped}, return_when=asyncio.FIRST_COMPLETED)

        listening = asyncio.ensure_future(self._watch_media())
        try:
            await transfers.until_over(lambda: asyncio.ensure_future(gone()))
        finally:
            stopped.cancel()
            listening.cancel()

    async def _watch_media(self) -> None:
        """After a handover: a caller of whom nothing comes any more has gone, and costs nothing further."""
        while True:
            await asyncio.sleep(WATCH_S)
            self._stats.observe(self._duplex.playout.counts.late_samples, is_held=self._duplex.is_held)
            if self._stats.silent_s > self._parts.limits.media_timeout_s:
                self._stopped.set()

    async def _free(self, reason: EndReason) -> None:
        """Give everything back; what cannot wait comes first."""
        self._tell_end(reason)
        self._endpoint.hang_up()
        slot, self._slot = self._slot, None
        if slot is not None:
            await slot.release()
        self._stats.finish(self._duplex.playout.counts.late_samples)
        self._duplex.finish()
        self._said.say()
        self._note(
            state=CallState.DISCONNECTED.value, ended_at_ms=time.time_ns() // 1_000_000, end_reason=reason
        )
        await self._recording.close(self.record, self.num_recoveries)
        log.info(
            "call_ended",
            reason=reason.value,
            fault=reason.fault.value,
            seconds=round(self._duplex.audio_s, 1),
            frames_heard=self._duplex.frames_heard,
            frames_answered=self._duplex.frames_answered,
            num_recoveries=self.num_recoveries,
            **self._duplex.bridge.as_json(),
        )

    # ---- the model ----

    async def _converse(self) -> None:
        """Let slot after slot answer: the next one when the worker of this one dies."""
        num_faults = 0
        while True:
            assert self._slot is not None
            try:
                await self._greet(self._slot)
                await self._duplex.converse(self._slot)
                return
            except WorkerLost as error:
                log.warning("worker_lost", worker_id=self._slot.worker_id, cause=str(error))
            except SlotFault as error:
                num_faults += 1
                log.warning("slot_fault", worker_id=self._slot.worker_id, cause=str(error))
            await self._slot.release()
            self._slot = None
            self._recording.interrupted()
            if num_left := self._duplex.forget_sentence():
                log.warning("sentence_lost", num_tokens_left=num_left)
            if num_faults >= MAX_FAULTS:
                self.hang_up(EndReason.MODEL_FAILED)
                return
            try:
                self._slot = await another_slot(self._parts.reclaim, self._duplex, self._parts.now)
            except PromptRefused as error:
                log.error("prompt_refused", cause=str(error))
                self.hang_up(EndReason.PROMPT_REFUSED)
                return
            if self._slot is None:
                self.hang_up(EndReason.WORKER_LOST)
                return
            self.num_recoveries += 1
            self._note(worker_id=self._slot.worker_id)

    async def _greet(self, slot: ModelSlot) -> None:
        """Give the model the configured first sentences, unless the conversation has begun."""
        if len(self._duplex.history):
            return
        tokens = self._parts.tokens
        told = sayable(tokens, self._recording.announcement)
        first = told + sayable(tokens, self._parts.agent.greeting)
        if first:
            await self._duplex.greet(slot, first)
        if told:
            self._recording.announces(len(told))

    async def _obey(self) -> None:
        """Do what the model asks for."""
        while True:
            signal = await self._duplex.signals.get()
            if self._transfers is not None and self._transfers.is_active:
                continue  # the model hears a caller who waits, and may take that for an end
            if signal is Signal.HANG_UP:
                await self._duplex.until_quiet()
                self.hang_up(EndReason.AGENT_HUNG_UP)
            elif signal is Signal.DELEGATE:
                if not self._questions.full():
                    self._questions.put_nowait(None)
            elif not self._transfer_as_configured():
                log.info("transfer_impossible", has_target=self._parts.limits.transfer_target is not None)
                await self._duplex.force(self._parts.tokens.nobody)

    async def _look_up(self) -> None:
        """Find out what the model asks for, one question at a time, while the conversation goes on."""
        while True:
            await self._questions.get()
            question = question_of(
                self.record.call_id, self._duplex.transcript.dialogue(), self._parts.headers
            )
            self._note(delegated=question.transcript)
            try:
                await self._delegation.ask(question)
            finally:
                self._note(delegated=None)

    def _transfer_as_configured(self) -> bool:
        """The model wants a person: the configured target, told what was said last."""
        target = self._parts.limits.transfer_target
        if target is None:
            return False
        asked = question_of(self.record.call_id, self._duplex.transcript.dialogue()).transcript
        summary = f"A caller asks for you. They said: {asked}" if asked else "A caller asks for you."
        return self.transfer(TransferOrder(target, self._parts.transfer_mode, summary, self.trunk))

    async def _hand_over(self) -> None:
        """Carry out transfers, until one succeeds; who is not taken is the agent's again."""
        if self._transfers is None:
            return
        async for order, outcome in self._transfers.outcomes():
            self._note(transfer=outcome)
            if outcome == TransferResult.COMPLETED:
                self.hang_up(EndReason.TRANSFERRED)
                return
            if outcome != TRYING:
                await self._duplex.force(self._parts.tokens.nobody)
                if order.is_last:
                    await self._duplex.until_quiet()
                    self.hang_up(EndReason.SHUTTING_DOWN)

    # ---- the call ----

    async def _follow_events(self) -> None:
        async for event in self._endpoint.events():
            match event.kind:
                case EndpointEventKind.DTMF:
                    log.info("dtmf", pii_digit=event.digit)
                    self._recording.pressed(event.digit)
                case EndpointEventKind.HELD | EndpointEventKind.RESUMED:
                    self._duplex.is_held = event.kind is EndpointEventKind.HELD
                    log.info("call_held" if self._duplex.is_held else "call_resumed")
                case EndpointEventKind.TRANSFER:
                    self._on_transfer(event)
                case EndpointEventKind.ENDED:
                    self.hang_up(self._reason_of(event))

    def _on_transfer(self, event: EndpointEvent) -> None:
        if self._transfers is not None and self._transfers.on_notify(event.code):
            self.hang_up(EndReason.TRANSFERRED)  # after all

    def _reason_of(self, event: EndpointEvent) -> EndReason:
        if self._transfers is not None and self._transfers.is_taken_over:
            return EndReason.TRANSFERRED  # the far end hung up on us once it had the new call
        return EndReason.CALLER_HUNG_UP if event.code in (0, 200) else EndReason.TRUNK_FAILED

    async def _watch(self) -> None:
        """Once a second: network figures, limits, the dialogue's last line, the sidecar."""
        limits, began_s, seconds = self._parts.limits, self._parts.now(), 0
        while True:
            await asyncio.sleep(WATCH_S)
            seconds += 1
            self._stats.observe(self._duplex.playout.counts.late_samples, is_held=self._duplex.is_held)
            if self._stats.silent_s > limits.media_timeout_s:
                self.hang_up(EndReason.MEDIA_LOST)
            if self._parts.now() - began_s > limits.max_s:
                self.hang_up(EndReason.TOO_LONG)
            self._said.say(self._duplex.audio_s)
            self._recording.tick()
            if seconds % SIDECAR_EVERY == 0:
                self._recording.note(self.record, self.num_recoveries)

    # ---- who took our call ----

    def _on_frame(self, heard: HeardFrame) -> None:
        self._view.note_frame(heard)
        self._answerer.push(heard.pcm, self._duplex.audio_s)

    def _on_answerer(self, answerer: Answerer) -> None:
        self._note(answered_by=answerer.value)
        if answerer is Answerer.MACHINE and self._parts.hangs_up_on_machines:
            self.hang_up(EndReason.MACHINE_ANSWERED)

    async def _greet_the_machine(self) -> None:
        """Say the greeting again once a machine takes a message: it talked over the first."""
        await self._answerer.beeped.wait()
        log.info("machine_beeped", at_s=round(self._duplex.audio_s, 2))
        if self._parts.agent.greeting:
            await self._say(self._parts.agent.greeting)

    # ---- what is told ----

    def _note(self, **changes: object) -> None:
        self.record = replace(
            self.record,
            codec=self._endpoint.stats().codec or None,
            num_turns=len(self._duplex.turns.gaps_s),
            **changes,  # type: ignore[arg-type]
        )
        self._parts.records.save(self.record)

    def _tell_end(self, reason: EndReason) -> None:
        listeners, self._end_listeners = self._end_listeners, []  # once
        for listener in listeners:
            listener(reason)

    def _tell_word(self, word: TimedWord) -> None:
        for listener in self._word_listeners:
            listener(word)
