"""SIP calls as `MediaEndpoint`s: what a gateway uses. asyncio thread only.

    async with SipGateway(settings) as gateway:      # raises AddressTaken, SettingsError
        async for invite in gateway.incoming():      # an IncomingCall: nothing but 100 has been sent
            if no_slot:
                gateway.set_full(True)               # OPTIONS now gets 503, too
                invite.reject(503, headers={"Retry-After": "5"})
                continue
            endpoint = await invite.answer()         # 200; raises CallEnded if the caller has gone
            ...                                      # endpoint.frames(), .send(), .events(), .stats()

    endpoint = await gateway.call("sip:order@127.0.0.1")  # the test caller; raises CallRefused, BadUri

Every endpoint must be read to its ENDED event or hung up; its audio port goes back to the pool by itself.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar, Self

import offhook_pjsua2 as pj

from telephony.endpoint import TICKS_PER_FRAME, EndpointEvent, EndpointEventKind
from telephony.errors import CallEnded, CallRefused, TelephonyError
from telephony.packet_audio import PacketPool
from telephony.registration import RegistrationResult
from telephony.settings import SipSettings
from telephony.sip_call import CallLink, SipCall
from telephony.sip_endpoint import SipEndpoint
from telephony.sip_gate import GateCounts, gate_counts
from telephony.sip_lines import Invite, SipLines
from telephony.sip_thread import SipThread
from telephony.sip_trunks import OnRegistered
from telephony.sip_uri import checked_uri
from telephony.ticks import TickFeed
from telephony.trunks import Trunk

__all__ = ["GatewayCounts", "IncomingSipCall", "SipEndpoint", "SipGateway"]

MAX_WAITING_INVITES = 256
ANSWER_TIMEOUT_S = 35.0  # the ACK has 32 s; who offers no stream either may not hold a slot for ever


@dataclass(slots=True, eq=False)
class IncomingSipCall:
    """An INVITE that waits for `answer` or `reject`; an `IncomingCall`."""

    transport: ClassVar[str] = "sip"

    caller: str
    called: str
    source: str  # the sender's IP address
    headers: Mapping[str, str]
    _endpoint: SipEndpoint
    _gateway: "SipGateway"
    _number: int
    trunk: str = ""  # the trunk that it came by; "" for peers that are in none
    _is_decided: bool = False

    @property
    def call_id(self) -> str:
        """The SIP Call-ID."""
        return self._endpoint.call_id

    @property
    def is_gone(self) -> bool:
        """True once the caller has cancelled or the call was answered or rejected."""
        return self._is_decided or self._endpoint.ended is not None

    def ring(self) -> None:
        """Send 180."""
        if not self.is_gone:
            self._gateway.act(self._number, lambda call: call.answer_with(180))

    async def answer(self) -> SipEndpoint:
        """Send 200 and return once audio flows. Raises CallEnded if there is nobody left to talk to."""
        if self.is_gone:
            raise CallEnded("the caller has gone, or the call was already decided")
        self._is_decided = True
        try:
            await self._gateway.answer(self._number)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                event = await self._endpoint.settled()
        except TimeoutError:
            self._endpoint.hang_up()
            raise CallEnded("the caller took the call, but no sound could flow in time") from None
        except (asyncio.CancelledError, TelephonyError):
            self._endpoint.hang_up(503)
            raise
        if event.kind is EndpointEventKind.ENDED:
            raise CallEnded(f"the call ended before it began: {event.code} {event.reason}")
        return self._endpoint

    def reject(self, code: int, reason: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Send a final refusal. Harmless when gone."""
        if not 300 <= code <= 699:
            raise TelephonyError(
                f"{code} refuses nothing; use a SIP status from 300 to 699, usually 486 or 503"
            )
        if not self.is_gone:
            self._is_decided = True
            added = dict(headers or {})
            self._gateway.act(self._number, lambda call: call.end(code, reason, added))


@dataclass(frozen=True, slots=True)
class GatewayCounts:
    """Figures of the whole SIP side."""

    calls: int  # calls that are not over, in any state
    ports_free: int  # audio ports that wait for a call
    foreign_messages: int  # SIP from peers that are not allowed: dropped
    malformed_messages: int  # what came to the SIP port and was no SIP: dropped
    gate: GateCounts = field(default_factory=GateCounts)  # these two and the rest of what was kept out


class SipGateway:
    """Listens for calls and places them; one per process at a time."""

    def __init__(
        self,
        settings: SipSettings,
        log_path: str | None = None,
        *,
        num_packet_ports: int = 0,
        trunks: Mapping[str, Trunk] | None = None,
        on_registered: OnRegistered | None = None,
    ) -> None:
        """`num_packet_ports` calls of other transports share the clock.

        `on_registered` is told, in asyncio, what came of each REGISTER: trunk, is it registered, result.

        With `log_path` PJSIP writes its own log there, SIP messages included: numbers in the clear.
        """
        self._settings = settings
        self._ticks: TickFeed | None = None
        self._numbers = itertools.count(1)
        self._endpoints: dict[int, SipEndpoint] = {}
        self._invites: asyncio.Queue[IncomingSipCall | None] = asyncio.Queue()
        self._on_registered = on_registered
        self._lines = SipLines(
            settings, self._new_link, self._offer, num_packet_ports, trunks, self._tell_registered
        )
        self._thread = SipThread(settings, self._lines, log_path, num_packet_ports)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False
        self._is_draining = False
        self._fetched_tick = 0

    async def start(self) -> None:
        """Listen. Raises AddressTaken if another program holds the port."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._loop.run_in_executor(None, self._thread.start)
        except TelephonyError:
            self._loop = None
            raise
        self._ticks = TickFeed(self._lines.audio.clock)
        self._ticks.subscribe(self._on_tick)
        self._ticks.start()

    async def stop(self) -> None:
        """End every call, each with its ENDED; give back every socket, port and thread. Harmless twice."""
        if self._loop is None:
            return
        self._is_stopping = True
        await self._loop.run_in_executor(None, self._thread.stop)
        if self._loop is None:  # stopped by somebody else meanwhile
            return
        self.ticks.stop()
        await asyncio.sleep(0)  # the last events, which the thread has posted
        self._loop = None
        self._invites.put_nowait(None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def udp_port(self) -> int:
        """Where we listen for SIP over UDP; 0 if we do not."""
        return self._thread.udp_port

    @property
    def tcp_port(self) -> int:
        """Likewise for TCP."""
        return self._thread.tcp_port

    @property
    def tls_port(self) -> int:
        """Likewise for TLS."""
        return self._thread.tls_port

    async def set_trunks(self, trunks: Mapping[str, Trunk]) -> None:
        """Have exactly these trunks from now on; live calls go on as they began. Raises TelephonyError."""
        await asyncio.wrap_future(self._thread.submit(lambda: self._lines.set_trunks(trunks)))

    @property
    def ticks(self) -> TickFeed:
        """The audio clock, once started; calls of other transports follow it too."""
        assert self._ticks is not None
        return self._ticks

    @property
    def packet_audio(self) -> PacketPool:
        """Ports for calls whose packets are not PJSIP's to carry, once started."""
        return self._lines.packet_audio

    @property
    def tick(self) -> int:
        """Number of the audio clock's latest tick."""
        return self.ticks.tick

    @property
    def tick_at_s(self) -> float:
        """time.monotonic() of that tick."""
        return self.ticks.tick_at_s

    def counts(self) -> GatewayCounts:
        """Figures of the whole SIP side."""
        gate = gate_counts()
        return GatewayCounts(
            self._lines.num_calls, self._lines.audio.num_free, gate.foreign, gate.malformed, gate
        )

    def set_full(self, is_full: bool) -> None:
        """Tell probes (OPTIONS) 503 with Retry-After instead of 200; INVITEs still come to `incoming`."""
        pj.setFull(is_full, self._settings.retry_after_s)

    def drain(self) -> None:
        """Take no new call in either direction, from now to the end; those that are there go on.

        INVITEs and OPTIONS outside a call are told 503 with Retry-After, `call` raises TelephonyError.
        """
        self._is_draining = True
        pj.setFull(True, self._settings.retry_after_s)
        pj.setDraining(True)
        self._thread.submit(self._lines.drain)

    async def incoming(self) -> AsyncIterator[IncomingSipCall]:
        """INVITEs, until the gateway stops. Beyond `MAX_WAITING_INVITES` undecided ones, callers get 503."""
        while (invite := await self._invites.get()) is not None:
            yield invite

    async def call(
        self, uri: str, timeout_s: float = 60.0, shown: str = "", subject: str = "", trunk: str = ""
    ) -> SipEndpoint:
        """Call somebody and return once they have answered; they are shown that SIP address as the caller's.

        The call goes by that trunk, or as ourselves. `subject` is one line that the far end may show.

        Raises BadUri, CallRefused with the far end's status, TelephonyError if outbound calls are off, and
        TimeoutError, after a CANCEL, if nobody answers in time.
        """
        if not self._settings.outbound_enabled:
            raise TelephonyError("placing calls is off; set outbound_enabled to allow it")
        if self._is_draining:
            raise TelephonyError("the gateway is about to stop and places no calls; use another one")
        one_line = " ".join(subject.split())  # a line break would be another header
        target, shown = checked_uri(uri), checked_uri(shown) if shown else ""
        link = self._new_link()
        endpoint = self._adopt(link)
        submitted = self._thread.submit(lambda: self._lines.place(link, target, shown, one_line, trunk))
        placed = asyncio.ensure_future(asyncio.wrap_future(submitted))
        try:
            await asyncio.shield(placed)  # an INVITE that is on its way must be taken back, not forgotten
        except TelephonyError:
            del self._endpoints[link.number]
            raise
        except asyncio.CancelledError:
            placed.add_done_callback(lambda done: self._forget_unplaced(link.number, done))
            endpoint.hang_up()
            raise
        try:
            async with asyncio.timeout(timeout_s):
                event = await endpoint.settled()
        except (TimeoutError, asyncio.CancelledError):
            endpoint.hang_up()
            raise
        if event.kind is EndpointEventKind.ENDED:
            raise CallRefused(event.code, event.reason, link.retry_after_s)
        return endpoint

    def _forget_unplaced(self, number: int, placed: "asyncio.Future[None]") -> None:
        """A call that was given up, and whose INVITE then could not be sent: no ENDED will come."""
        if placed.cancelled() or placed.exception() is not None:
            self._endpoints.pop(number, None)

    async def join(self, one: SipEndpoint, other: SipEndpoint) -> None:
        """Let two answered calls hear each other in place of us, until one of them is over.

        Their frames are silence from then on, and what is sent to them is not heard. Raises CallEnded.
        """
        numbers = one.number, other.number
        await asyncio.wrap_future(self._thread.submit(lambda: self._lines.join(*numbers)))

    def act(self, number: int, action: Callable[[SipCall], None]) -> None:
        """Have the sip thread do something to a call; if it is over by then, nothing happens."""
        self._thread.submit(lambda: self._lines.act(number, action))

    async def answer(self, number: int) -> None:
        """Have the sip thread send 200. Raises CallEnded."""
        await asyncio.wrap_future(self._thread.submit(lambda: self._lines.answer(number)))

    def _on_tick(self) -> None:
        """Fetch what is complete: at each tick that is the frames of its phase; after a pause, any."""
        before, self._fetched_tick = self._fetched_tick, self.tick
        is_next = self._fetched_tick == before + 1
        phase = self._fetched_tick % TICKS_PER_FRAME
        for endpoint in self._endpoints.values():
            if not is_next or endpoint.frame_phase == phase:
                endpoint.on_tick()

    def _new_link(self) -> CallLink:
        """On either thread."""
        number = next(self._numbers)
        return CallLink(number, lambda event: self._post(number, event))

    def _post(self, number: int, event: EndpointEvent) -> None:
        """On the sip thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._deliver, number, event)

    def _deliver(self, number: int, event: EndpointEvent) -> None:
        endpoint = self._endpoints.get(number)
        if endpoint is not None:
            endpoint.on_event(event)
            if event.kind is EndpointEventKind.ENDED:
                del self._endpoints[number]

    def _offer(self, link: CallLink, invite: Invite) -> bool:
        """On the sip thread: False if too many callers wait already."""
        loop = self._loop
        if loop is None or self._is_stopping or self._invites.qsize() >= MAX_WAITING_INVITES:
            return False
        loop.call_soon_threadsafe(self._take, link, invite)
        return True

    def _tell_registered(self, trunk: str, is_registered: bool, result: RegistrationResult) -> None:
        """On the sip thread."""
        loop, tell = self._loop, self._on_registered
        if tell is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(tell, trunk, is_registered, result)

    def _take(self, link: CallLink, invite: Invite) -> None:
        endpoint = self._adopt(link)
        self._invites.put_nowait(
            IncomingSipCall(
                invite.caller,
                invite.called,
                invite.source,
                invite.headers,
                endpoint,
                self,
                link.number,
                trunk=invite.trunk,
            )
        )

    def _adopt(self, link: CallLink) -> SipEndpoint:
        endpoint = self._endpoints[link.number] = SipEndpoint(link, self.act, self._take_back)
        return endpoint

    def _take_back(self, link: CallLink) -> None:
        audio, link.audio = link.audio, None
        if audio is not None:
            self._thread.submit(lambda: self._lines.audio.give_back(audio))
