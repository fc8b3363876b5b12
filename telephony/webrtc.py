"""WebRTC calls as `MediaEndpoint`s: what a gateway uses beside `SipGateway`. asyncio thread only.

    async with WebRtcGateway(settings, sip.ticks, sip.packet_audio) as gateway:
        call = gateway.offer(sdp, caller)            # raises BadOffer; it now waits in gateway.incoming()
        answer = await call.decided()                # SDP; raises OfferRefused

        async for call in gateway.incoming():        # an IncomingCall, as of SIP
            endpoint = await call.answer()           # raises CallEnded if the peer never connects

The ports and the clock are the SIP side's: calls of both kinds run on the same ticks.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

from telephony.endpoint import EndpointEventKind
from telephony.errors import CallEnded, OfferRefused, TelephonyError
from telephony.packet_audio import PacketPool
from telephony.settings import WebRtcSettings
from telephony.ticks import TickFeed
from telephony.webrtc_endpoint import WebRtcEndpoint
from telephony.webrtc_sdp import Offer, read_offer

__all__ = ["IncomingWebRtcCall", "WebRtcEndpoint", "WebRtcGateway"]

MAX_WAITING_OFFERS = 256
SERVICE_UNAVAILABLE = 503
STOPPING = "this gateway is stopping"


class IncomingWebRtcCall:
    """An offer that waits for `answer` or `reject`; an `IncomingCall`."""

    transport = "webrtc"
    called = trunk = ""
    source = ""  # HTTP's own limits have counted it already
    headers: Mapping[str, str] = {}

    def __init__(self, gateway: "WebRtcGateway", offer: Offer, caller: str, about: object) -> None:
        self.call_id = secrets.token_hex(8)
        self.caller = caller
        self._about = about
        self._gateway, self._offer = gateway, offer
        self._decision: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._is_taken = False

    @property
    def is_gone(self) -> bool:
        """True once it was answered, rejected or withdrawn."""
        return self._is_taken or self._decision.done()

    async def decided(self) -> str:
        """Our SDP answer, once there is one. Raises OfferRefused; cancelled, the offer is withdrawn."""
        return await self._decision

    def ring(self) -> None:
        """Nothing rings in WebRTC: the answer follows at once."""

    async def answer(self) -> WebRtcEndpoint:
        """Give our SDP answer and return once the peer is connected and audio flows.

        Raises CallEnded if there is nobody left to talk to, or the peer does not connect in time.
        """
        if self.is_gone:
            raise CallEnded("the peer has gone, or the call was already decided")
        self._is_taken = True
        endpoint = await self._begin()
        event = await endpoint.settled()
        if event.kind is EndpointEventKind.ENDED:
            raise CallEnded(f"the call ended before it began: {event.code} {event.reason}")
        return endpoint

    async def _begin(self) -> WebRtcEndpoint:
        try:
            endpoint, sdp = await self._gateway.begin(self.call_id, self.caller, self._offer, self._about)
        except BaseException as error:
            is_full = isinstance(error, CallEnded)
            cause = str(error) if isinstance(error, TelephonyError) else "it could not be answered"
            self._refuse(OfferRefused(SERVICE_UNAVAILABLE if is_full else 500, cause))
            raise
        if self._decision.done():  # withdrawn meanwhile
            endpoint.hang_up()
        else:
            self._decision.set_result(sdp)
        return endpoint

    def reject(self, code: int, reason: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Refuse the offer; of the headers, Retry-After is told. Harmless when gone."""
        retry_after = (headers or {}).get("Retry-After", "")
        self._refuse(OfferRefused(code, reason, int(retry_after) if retry_after.isdecimal() else None))

    def _refuse(self, error: OfferRefused) -> None:
        self._is_taken = True
        if not self._decision.done():
            self._decision.set_exception(error)
            self._decision.exception()  # seen, also if whoever asked has gone


class WebRtcGateway:
    """Takes offers; an async context manager within which every call has one task."""

    def __init__(self, settings: WebRtcSettings, ticks: TickFeed, pool: PacketPool) -> None:
        self._settings, self._ticks, self._pool = settings, ticks, pool
        self._calls: asyncio.Queue[IncomingWebRtcCall | None] = asyncio.Queue()
        self._endpoints: dict[str, WebRtcEndpoint] = {}
        self._is_refusing = False
        self._group = asyncio.TaskGroup()

    @property
    def num_calls(self) -> int:
        """Calls that are not over, connected or not."""
        return len(self._endpoints)

    @property
    def num_free(self) -> int:
        """Audio ports that wait for a call."""
        return self._pool.num_free

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._ticks.subscribe(self._on_tick)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every call and give everything back."""
        self.refuse_all()
        for endpoint in self._endpoints.values():
            endpoint.hang_up()
        self._calls.put_nowait(None)
        try:
            await self._group.__aexit__(kind, error, trace)
        finally:
            self._ticks.unsubscribe(self._on_tick)

    def offer(self, sdp: str, caller: str, about: object = None) -> IncomingWebRtcCall:
        """Queue an offer among the incoming calls; its endpoint will carry `about`.

        Raises BadOffer; OfferRefused when too many wait, or after `refuse_all`.
        """
        if self._is_refusing:
            raise OfferRefused(SERVICE_UNAVAILABLE, STOPPING)
        if self._calls.qsize() >= MAX_WAITING_OFFERS:
            raise OfferRefused(SERVICE_UNAVAILABLE, "too many calls wait for an answer", 5)
        call = IncomingWebRtcCall(self, read_offer(sdp), caller, about)
        self._calls.put_nowait(call)
        return call

    async def incoming(self) -> AsyncIterator[IncomingWebRtcCall]:
        """Offers, until the gateway stops."""
        while (call := await self._calls.get()) is not None:
            yield call

    def hang_up(self, call_id: str) -> bool:
        """Begin to end a call, connected or not; False if there is none of that id."""
        endpoint = self._endpoints.get(call_id)
        if endpoint is not None:
            endpoint.hang_up()
        return endpoint is not None

    def refuse_all(self) -> None:
        """Take no more offers, refuse those that wait, and begin to end what is not connected yet.

        Harmless twice; calls that are connected go on.
        """
        self._is_refusing = True
        while not self._calls.empty():
            call = self._calls.get_nowait()
            if call is not None:
                call.reject(SERVICE_UNAVAILABLE, STOPPING)
        for endpoint in self._endpoints.values():
            if endpoint.answered is None:
                endpoint.hang_up(SERVICE_UNAVAILABLE)

    async def begin(
        self, call_id: str, remote: str, offer: Offer, about: object
    ) -> tuple[WebRtcEndpoint, str]:
        """Give a call its audio and start to connect; the endpoint and our SDP answer.

        Raises CallEnded when every port is lent or we stop, TelephonyError if this machine cannot be reached.
        """
        if self._is_refusing:
            raise CallEnded(STOPPING)
        audio = self._pool.lend()
        if audio is None:
            raise CallEnded("every audio port is in use; raise webrtc.max_calls or end a call")
        endpoint = WebRtcEndpoint(call_id, remote, offer, self._settings, self._pool.give_back, about)
        try:
            sdp = await endpoint.begin(audio)
        except BaseException:
            endpoint.hang_up()
            self._start(endpoint)  # its task gives everything back
            raise
        self._start(endpoint)
        return endpoint, sdp

    def _start(self, endpoint: WebRtcEndpoint) -> None:
        self._endpoints[endpoint.call_id] = endpoint
        task = self._group.create_task(endpoint.live())
        task.add_done_callback(lambda _task: self._endpoints.pop(endpoint.call_id, None))

    def _on_tick(self) -> None:
        for endpoint in tuple(self._endpoints.values()):
            endpoint.on_tick()
