"""A gateway's connection to one worker, and the slots (`agent.slot`) it holds there. Event loop only.

    async with linked(WorkerAddress.parse("unix:/tmp/w0.sock")) as link:  # sessions use agent.pool.WorkerPool
        slot = await link.claim("call-1", fencing=1, seed=7)              # ClaimRefused, WorkerLost

The connection is what keeps the slots: when it ends, for whatever reason, every slot raises WorkerLost at
once and the worker frees them. Times that come from the worker are converted to this machine's monotonic
clock, by the probe with the shortest round trip among the last 16.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from agent import clock
from agent.errors import WorkerUnavailable
from agent.slot import ClaimRefused, PromptRefused, Slot, SlotFault, SlotReply, WorkerLost
from agent.wire import (
    DEFAULT_PROFILE,
    FRAME_SAMPLES,
    MAX_GREETING_BYTES,
    MAX_HELLO_BYTES,
    NO_HISTORY,
    NO_SPEECH,
    NONCE_BYTES,
    CallerFrame,
    Challenge,
    Claim,
    Claimed,
    ClockProbe,
    ClockReply,
    Drain,
    Fault,
    ForceText,
    Hello,
    Message,
    Proof,
    RefusalReason,
    Refused,
    Release,
    Reply,
    Say,
    Silence,
    Stats,
    Verdict,
    gateway_mac,
    read_message,
    same_mac,
    worker_mac,
)
from agent.wire_fields import MalformedMessage
from agent.worker_address import WorkerAddress
from model.control import CallProfile
from telephony.audio import Pcm, to_float, to_int16

PROBE_PERIOD_S = 1.0
NUM_FIRST_PROBES = 5
NUM_KEPT_PROBES = 16
CONNECT_TIMEOUT_S = 5.0
CLAIM_TIMEOUT_S = 15.0  # a start may replay a long history
SILENCE_TIMEOUT_S = 4.0  # no Stats for so long: the worker is gone or hung
MAX_UNSENT_BYTES = 1 << 18  # five seconds of one caller; beyond it frames are dropped


M = TypeVar("M", bound=Message)


class WorkerLink:
    """One connection. `connect` greets, `run` keeps it alive and returns when it is lost."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: WorkerAddress,
        now: clock.Now,
    ) -> None:
        self._reader, self._writer, self._now = reader, writer, now
        self.address = address
        self.hello: Hello  # set by connect
        self.stats: Stats | None = None
        self.is_draining = False
        self.on_stats: Callable[[Stats], None] | None = None
        self._probes: deque[tuple[float, float]] = deque(maxlen=NUM_KEPT_PROBES)  # round trip, offset
        self._slots: dict[tuple[int, int], Slot] = {}  # by slot, generation
        self._claims: dict[tuple[str, int], asyncio.Future[Slot]] = {}  # by call, fencing
        self._lost: WorkerLost | None = None
        self._unwritten: list[bytes] = []  # of this turn of the loop
        self._held_at_stats = 0
        self._heard_s = now()
        self._log = structlog.get_logger("agent.worker_link")

    @classmethod
    async def connect(
        cls, address: WorkerAddress, *, secret: bytes = b"", now: clock.Now = clock.now
    ) -> WorkerLink:
        """Connect, prove the secret both ways, and measure the clock.

        Raises ConfigError for TCP without a secret, WorkerUnavailable when there is no worker or it refuses
        us.
        """
        address.check_secret(secret)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await address.connect()
                link = cls(reader, writer, address, now)
                try:
                    await link._greet(secret)
                except BaseException:
                    writer.close()
                    raise
                return link
        except (OSError, MalformedMessage) as error:  # a TimeoutError is an OSError
            reason = str(error) or type(error).__name__
            raise WorkerUnavailable(f"no worker at {address}: {reason}") from error

    @property
    def lost(self) -> WorkerLost | None:
        """Why the connection is gone; None while it lives."""
        return self._lost

    @property
    def worker_id(self) -> str:
        """The worker's own name."""
        return self.hello.worker_id

    @property
    def round_trip_s(self) -> float:
        """The shortest of the latest probes'."""
        return min(self._probes)[0]

    @property
    def offset_s(self) -> float:
        """The worker's clock minus ours, right to within half the round trip."""
        return min(self._probes)[1]

    @property
    def num_slots_held(self) -> int:
        """Slots that we hold or are claiming through this connection."""
        return len(self._slots) + sum(not answer.done() for answer in self._claims.values())

    @property
    def num_slots_free(self) -> int:
        """Slots that a claim could get, as far as we know; other gateways may be faster."""
        if self._lost is not None or self.is_draining:
            return 0
        others = max(0, self.stats.num_slots_used - self._held_at_stats) if self.stats is not None else 0
        return max(0, self.hello.num_slots - self.num_slots_held - others)

    def to_local(self, worker_s: float) -> float:
        """A time of the worker's clock on ours."""
        return worker_s - self.offset_s

    def next_tick_s(self, after_s: float) -> float:
        """The worker's first tick at or after `after_s`, on our clock; a frame should be there before it."""
        first_s, period_s = self.to_local(self.hello.tick_s), self.hello.period_s
        return first_s - (first_s - after_s) // period_s * period_s

    async def claim(
        self,
        call_id: str,
        *,
        fencing: int,
        seed: int,
        profile: CallProfile = DEFAULT_PROFILE,
        history: NDArray[np.int16] | None = None,
        caller_pcm: Pcm | None = None,
    ) -> Slot:
        """Claim a slot that is ready for frames; with `history` int16 [T, 1 + 2K] the call goes on where it
        ended.

        Raises ClaimRefused (PromptRefused if the model cannot take the profile), or WorkerLost.
        """
        self._check()
        key = call_id, fencing
        if key in self._claims:
            raise ClaimRefused(self.worker_id, RefusalReason.ALREADY_CLAIMED)
        speech = NO_SPEECH if caller_pcm is None else to_int16(caller_pcm)
        columns = NO_HISTORY if history is None else history
        claim = Claim(call_id, fencing, seed, columns, speech, profile)
        answer: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._claims[key] = answer
        try:
            self._send(claim)
            async with asyncio.timeout(CLAIM_TIMEOUT_S):
                return await answer
        except TimeoutError:
            raise WorkerLost(
                f"worker {self.worker_id} did not answer a claim in {CLAIM_TIMEOUT_S:g} s"
            ) from None
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                await answer.result().release()
            raise
        finally:
            del self._claims[key]

    async def run(self) -> None:
        """Serve the connection until it is lost or closed; `lost` then tells why."""
        reason = "the gateway closed the connection"
        try:
            async with asyncio.TaskGroup() as group:
                probing = group.create_task(self._probe())
                reason = await self._receive()
                probing.cancel()
        finally:
            self._lose(WorkerLost(f"worker {self.worker_id}: {reason}"))

    def close(self) -> None:
        """Disconnect; every slot raises WorkerLost, and `run` returns."""
        self._lose(WorkerLost(f"worker {self.worker_id}: the gateway closed the connection"))

    def ask_to_drain(self) -> None:
        """Ask the worker to take no more claims from anybody."""
        self._send(Drain())

    # ---- for Slot ----

    def offer(self, message: CallerFrame | ForceText | Say | Silence) -> bool:
        """Send unless the stream is full."""
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            return False
        self._send(message)
        return True

    def forget(self, slot: Slot) -> None:
        """The call is over: tell the worker."""
        if self._slots.pop((slot.index, slot.generation), None) is not None:
            self._send(Release(slot.index, slot.generation))

    # ---- the connection ----

    async def _greet(self, secret: bytes) -> None:
        challenge = await self._expect(Challenge)
        nonce = secrets.token_bytes(NONCE_BYTES)
        self._send(Proof(nonce, gateway_mac(secret, challenge.nonce, nonce)))
        try:
            verdict = await self._expect(Verdict)
        except (MalformedMessage, OSError):
            raise WorkerUnavailable(
                f"the worker at {self.address} refused us; set the same OFFHOOK_WORKER__SECRET here and there"
            ) from None
        if not same_mac(verdict.mac, worker_mac(secret, challenge.nonce, nonce)):
            raise WorkerUnavailable(f"{self.address} does not know our secret: it is not our worker")
        self.hello = await self._expect(Hello, MAX_HELLO_BYTES)
        if self.hello.frame_samples != FRAME_SAMPLES:
            raise MalformedMessage(
                f"its frames have {self.hello.frame_samples} samples, ours {FRAME_SAMPLES}"
            )
        for _ in range(NUM_FIRST_PROBES):
            self._send(ClockProbe(self._now()))
            while not isinstance(message := await self._next(), ClockReply):
                self._take(message)
            self._take(message)

    async def _expect(self, kind: type[M], max_bytes: int = MAX_GREETING_BYTES) -> M:
        message = await read_message(self._reader, max_bytes)
        if not isinstance(message, kind):
            raise MalformedMessage(f"no {kind.__name__} from it")
        return message

    async def _next(self) -> Message:
        message = await read_message(self._reader)
        if message is None:
            raise MalformedMessage("it closed the connection")
        self._heard_s = self._now()
        return message

    async def _receive(self) -> str:
        """Take messages until the end; why it came."""
        try:
            while self._lost is None:
                async with asyncio.timeout(SILENCE_TIMEOUT_S):
                    message = await self._next()
                self._take(message)
        except TimeoutError:
            return f"no sign of life for {SILENCE_TIMEOUT_S:g} s"
        except (MalformedMessage, OSError) as error:
            return str(error) or type(error).__name__
        return "the gateway closed the connection"

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_PERIOD_S)
            self._send(ClockProbe(self._now()))

    def _send(self, message: Message) -> None:
        """Write it in the loop's next turn: frames of many calls come in one turn, and leave in one write."""
        if self._writer.transport.is_closing():
            return
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._write)
        self._unwritten.append(message.encode())

    def _write(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        if unwritten and not self._writer.transport.is_closing():
            self._writer.write(b"".join(unwritten))

    def _take(self, message: Message) -> None:
        match message:
            case Reply():
                self._take_reply(message)
            case Claimed():
                self._take_claimed(message)
            case Refused():
                if (answer := self._pending(message)) is not None:
                    is_prompt = message.reason == RefusalReason.PROMPT
                    kind = PromptRefused if is_prompt else ClaimRefused
                    answer.set_exception(kind(self.worker_id, message.reason, message.detail))
            case Fault():
                if (slot := self._slots.pop((message.slot, message.generation), None)) is not None:
                    slot.fail(SlotFault(f"worker {self.worker_id}: {message.reason}"))
            case _:
                self._take_news(message)

    def _take_news(self, message: Message) -> None:
        """What concerns the worker, not one slot."""
        match message:
            case ClockReply():
                received_s = self._now()
                trip_s = received_s - message.probe_sent_s
                self._probes.append((trip_s, message.worker_s - (received_s + message.probe_sent_s) / 2))
            case Stats():
                self.stats, self._held_at_stats = message, self.num_slots_held
                if self.on_stats is not None:
                    self.on_stats(message)
            case Drain():
                self.is_draining = True
            case _:
                raise MalformedMessage(f"a worker does not send a {type(message).__name__}")

    def _take_reply(self, reply: Reply) -> None:
        slot = self._slots.get((reply.slot, reply.generation))
        if slot is None:
            return  # released while it was on its way
        slot.accept(
            SlotReply(
                number=reply.number,
                pcm=to_float(reply.pcm),
                text=reply.text,
                caller_text=reply.caller_text,
                tokens=reply.tokens,
                collected_s=self.to_local(reply.collected_s),
                delivered_s=self.to_local(reply.delivered_s),
                received_s=self._heard_s,
                step_s=reply.step_s,
            )
        )

    def _take_claimed(self, claimed: Claimed) -> None:
        answer = self._pending(claimed)
        if answer is None:  # whoever asked has gone
            self._send(Release(claimed.slot, claimed.generation))
            return
        slot = self._slots[claimed.slot, claimed.generation] = Slot(self, claimed)
        answer.set_result(slot)

    def _pending(self, message: Claimed | Refused) -> asyncio.Future[Slot] | None:
        answer = self._claims.get((message.call_id, message.fencing))
        return answer if answer is not None and not answer.done() else None

    def _lose(self, error: WorkerLost) -> None:
        """Make everything that depends on the connection raise `error`; only the first loss counts."""
        if self._lost is not None:
            return
        self._lost = error
        slots, self._slots = self._slots, {}
        for slot in slots.values():
            slot.fail(error)
        for answer in self._claims.values():
            if not answer.done():
                answer.set_exception(error)
        self._write()
        self._writer.close()

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost


@contextlib.asynccontextmanager
async def linked(address: WorkerAddress, *, secret: bytes = b"") -> AsyncIterator[WorkerLink]:
    """A connection for the length of a block, kept alive in the background."""
    link = await WorkerLink.connect(address, secret=secret)
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run())
        try:
            yield link
        except Exception as error:
            failure = error  # raised below as it is; the group would wrap it
        finally:
            link.close()
    if failure is not None:
        raise failure
