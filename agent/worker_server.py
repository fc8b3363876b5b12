"""The worker's event loop: gateways' connections on one side, the slot table and the engine's thread on the
other.

Bounds: replies that a gateway does not read are dropped beyond 1 MiB; a gateway that is silent for 5 s, sends
what is no message, or does not know the secret is disconnected, and its slots are free at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from agent.clock import Clock, SystemClock
from agent.slot_table import Holding, SlotTable
from agent.tick_loop import Force, Start, Stepper, Stop, TickLoop
from agent.wire import (
    FRAME_SAMPLES,
    MAX_DETAIL_BYTES,
    MAX_GREETING_BYTES,
    NONCE_BYTES,
    PERIOD_S,
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
from agent.worker_address import WorkerAddress, widen
from model.errors import PromptError

STATS_PERIOD_S = 1.0
PEER_TIMEOUT_S = 5.0  # a gateway probes the clock every second
GREETING_TIMEOUT_S = 5.0
MAX_PEERS = 64
MAX_UNSENT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """What the worker tells of itself."""

    worker_id: str
    model: str
    num_columns: int  # of a token row: 1 + 2K
    voices: tuple[str, ...] = ()
    takes_role: bool = False
    step_p99_s: float = 0.0  # as calibrated for all slots; 0: not measured


class _Peer:
    """One gateway's connection."""

    def __init__(self, number: int, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self._writer = writer

    def send(self, message: Message) -> bool:
        """Queue a message; False, and it is lost, when the gateway has stopped reading."""
        return self.send_all([message])

    def send_all(self, messages: Sequence[Message]) -> bool:
        """The same for several, in one write."""
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            return False
        self._writer.write(b"".join([message.encode() for message in messages]))
        return True

    def close(self) -> None:
        """Disconnect; what is queued is still sent."""
        self._writer.close()


class WorkerServer:
    """Serves one warm engine; `serve` returns when it is stopped or drained.

    It is the tick loop's Outlet: results are handed from the engine's thread to the event loop.
    """

    def __init__(
        self,
        stepper: Stepper,
        identity: WorkerIdentity,
        *,
        secret: bytes = b"",
        phase_s: float = 0.0,
        tidy: Callable[[], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._identity, self._secret = identity, secret
        self._clock: Clock = SystemClock() if clock is None else clock
        self._log = structlog.get_logger("agent.worker").bind(worker_id=identity.worker_id)
        self._ticks = TickLoop(stepper, self, self._clock, phase_s=phase_s, tidy=tidy)
        self._table = SlotTable(stepper.num_slots)
        self._num_slots = stepper.num_slots
        self._peers: dict[int, _Peer] = {}
        self._numbers = itertools.count(1)
        self._num_stale = 0
        self._failure: Exception | None = None
        self._is_over = asyncio.Event()
        self._is_empty = asyncio.Event()  # draining, and the last call is over

    # ---- life ----

    async def serve(self, address: WorkerAddress) -> None:
        """Listen on `address` until `stop`, or until a drain is over.

        Raises ConfigError when the address cannot be had, and what broke the engine's thread.
        """
        address.check_secret(self._secret)
        self._loop = asyncio.get_running_loop()
        listener = address.listen()
        thread = threading.Thread(target=self._run_ticks, name="engine")
        thread.start()
        try:
            start = asyncio.start_unix_server if address.path else asyncio.start_server
            server = await start(self._meet, sock=listener)
            self._log.info("worker_ready", address=str(address), num_slots=self._num_slots)
            await self._beat_until_over()
            server.close()
        finally:
            address.remove()
            for peer in list(self._peers.values()):
                peer.close()
            self._ticks.stop()
            await asyncio.to_thread(thread.join)
        if self._failure is not None:
            raise self._failure

    @property
    def num_slots_used(self) -> int:
        """Slots that are given away."""
        return self._table.num_used

    def call_between_ticks(self, errand: Callable[[], None]) -> None:
        """Run it once on the engine's thread, between two ticks; any thread may ask."""
        self._ticks.call_between(errand)

    def stop(self) -> None:
        """End now, whatever calls there are. Event loop only."""
        self._is_over.set()

    async def drain(self, timeout_s: float) -> None:
        """Take no more claims, and end when the last call is over or the time is up."""
        self._log.info("worker_draining", num_slots_used=self._table.num_used)
        self._table.is_draining = True
        self._tell_all(Drain())
        self._note_empty()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._is_empty.wait()
        self.stop()

    def _run_ticks(self) -> None:
        """The engine's thread."""
        try:
            self._ticks.run()
        except Exception as error:
            self._failure = error
            self._post(self._is_over.set)

    async def _beat_until_over(self) -> None:
        while not self._is_over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATS_PERIOD_S):
                    await self._is_over.wait()
            self._tell_all(self._stats())

    def _tell_all(self, message: Message) -> None:
        for peer in self._peers.values():
            peer.send(message)

    def _stats(self) -> Stats:
        counts = self._ticks.counts
        ticks = counts.tick_seconds
        return Stats(
            num_slots_used=self._table.num_used,
            num_ticks=counts.ticks,
            num_steps=counts.steps,
            num_catch_ups=counts.catch_ups,
            num_deadline_misses=counts.deadline_misses,
            num_frames_dropped=self._ticks.num_frames_dropped,
            num_frames_missing=counts.frames_missing,
            num_stale=self._num_stale,
            num_faults=counts.faults,
            cpu_s=time.process_time(),
            tick_age_s=self._clock.now() - counts.seen_s,
            tick_seconds=np.array([ticks.popleft() for _ in range(len(ticks))], np.float32),
        )

    # ---- a gateway's connection ----

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from the challenge to its end; nothing that a peer does escapes from here."""
        widen(writer)
        peer = _Peer(next(self._numbers), writer)
        try:
            if len(self._peers) >= MAX_PEERS:
                raise MalformedMessage(f"more than {MAX_PEERS} gateways")
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                await self._greet(reader, peer)
            await self._listen_to(reader, peer)
        except ConnectionError:  # it went away while we were sending
            pass
        except (MalformedMessage, TimeoutError, OSError) as error:
            self._log.warning(
                "gateway_dropped", peer=peer.number, error=type(error).__name__, reason=str(error)
            )
        finally:
            self._peers.pop(peer.number, None)
            for held in self._table.owned_by(peer.number):
                self._free(held)
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, peer: _Peer) -> None:
        nonce = secrets.token_bytes(NONCE_BYTES)
        peer.send(Challenge(nonce))
        proof = await read_message(reader, MAX_GREETING_BYTES)
        if not isinstance(proof, Proof):
            raise MalformedMessage("the gateway did not answer the challenge")
        if not same_mac(proof.mac, gateway_mac(self._secret, nonce, proof.nonce)):
            raise MalformedMessage("the gateway does not know the secret")
        peer.send(Verdict(worker_mac(self._secret, nonce, proof.nonce)))
        peer.send(
            Hello(
                worker_id=self._identity.worker_id,
                model=self._identity.model,
                num_slots=self._num_slots,
                num_columns=self._identity.num_columns,
                frame_samples=FRAME_SAMPLES,
                period_s=PERIOD_S,
                tick_s=self._ticks.tick_s,
                voices=self._identity.voices,
                takes_role=self._identity.takes_role,
                step_p99_s=self._identity.step_p99_s,
            )
        )
        if self._table.is_draining:
            peer.send(Drain())
        self._peers[peer.number] = peer

    async def _listen_to(self, reader: asyncio.StreamReader, peer: _Peer) -> None:
        while True:
            async with asyncio.timeout(PEER_TIMEOUT_S):
                message = await read_message(reader)
            if message is None:
                return
            self._take(message, peer)
            await asyncio.sleep(0)  # whoever sends much must not keep the loop from the others

    def _take(self, message: Message, peer: _Peer) -> None:
        match message:
            case CallerFrame() if self._held_by(peer, message):
                self._ticks.push(message)
            case ClockProbe():
                peer.send(ClockReply(message.sent_s, self._clock.now()))
            case Claim():
                self._claim(message, peer)
            case Release() if held := self._held_by(peer, message):
                self._free(held)
            case ForceText() if self._held_by(peer, message):
                self._command(Force(message.slot, message.generation, message.token))
            case Say() | Silence() if self._held_by(peer, message):
                self._command(message)
            case Drain():
                self._log.info("worker_drain_asked", peer=peer.number)
                self._table.is_draining = True
                self._tell_all(Drain())
            case CallerFrame() | Release() | ForceText() | Say() | Silence():
                self._num_stale += 1
            case _:
                raise MalformedMessage(f"a gateway does not send a {type(message).__name__}")

    def _held_by(
        self, peer: _Peer, message: CallerFrame | Release | ForceText | Say | Silence
    ) -> Holding | None:
        held = self._table.find(message.slot, message.generation)
        return held if held is not None and held.owner == peer.number else None

    def _claim(self, claim: Claim, peer: _Peer) -> None:
        held = self._table.claim(claim.call_id, claim.fencing, peer.number)
        if isinstance(held, RefusalReason):
            peer.send(Refused(claim.call_id, claim.fencing, held, ""))
            return
        sound = claim.history, claim.caller_pcm
        self._ticks.submit(Start(held.slot, held.generation, claim.seed, *sound, claim.profile))

    def _command(self, command: Force | Say | Silence) -> None:
        if not self._ticks.submit(command):
            raise MalformedMessage("a flood of commands")

    def _free(self, held: Holding) -> None:
        self._ticks.submit(Stop(held.slot, held.generation))
        self._table.release(held)
        self._note_empty()

    def _note_empty(self) -> None:
        if self._table.is_draining and not self._table.num_used:
            self._is_empty.set()

    # ---- Outlet: called on the engine's thread ----

    def started(self, command: Start, seconds: float, error: Exception | None) -> None:
        """A slot is ready for its call, or cannot be."""
        self._post(lambda: self._tell_started(command, seconds, error))

    def deliver(self, replies: list[Reply]) -> None:
        """One step's replies."""
        self._post(lambda: self._tell_replies(replies))

    def failed(self, fault: Fault) -> None:
        """The engine failed in one slot."""
        self._post(lambda: self._tell_fault(fault))

    def _post(self, act: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(act)

    def _owner(self, slot: int, generation: int) -> tuple[Holding, _Peer] | None:
        """Who holds this now; None, and counted, when that claim is over."""
        held = self._table.find(slot, generation)
        if held is None or held.owner not in self._peers:
            self._num_stale += 1
            return None
        return held, self._peers[held.owner]

    def _tell_started(self, command: Start, seconds: float, error: Exception | None) -> None:
        owner = self._owner(command.slot, command.generation)
        if owner is None:
            return
        held, peer = owner
        if error is None:
            peer.send(Claimed(held.call_id, held.fencing, held.slot, held.generation, seconds))
        else:
            self._table.release(held)
            self._note_empty()
            is_prompt = isinstance(error, PromptError)
            reason = RefusalReason.PROMPT if is_prompt else RefusalReason.ENGINE
            detail = _shortened(str(error)) if is_prompt else ""
            peer.send(Refused(held.call_id, held.fencing, reason, detail))

    def _tell_replies(self, replies: list[Reply]) -> None:
        by_peer: dict[int, list[Reply]] = {}
        for reply in replies:
            owner = self._owner(reply.slot, reply.generation)
            if owner is not None:
                by_peer.setdefault(owner[1].number, []).append(reply)
        for number, own in by_peer.items():
            self._peers[number].send_all(own)

    def _tell_fault(self, fault: Fault) -> None:
        owner = self._owner(fault.slot, fault.generation)
        if owner is not None:
            self._table.release(owner[0])
            self._note_empty()
            owner[1].send(fault)


def _shortened(text: str) -> str:
    """As much of the text as Refused has room for."""
    return text.encode()[:MAX_DETAIL_BYTES].decode(errors="ignore")
