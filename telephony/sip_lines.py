"""Every live call of a gateway, the account they belong to, and the pool of their audio. Sip thread only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import offhook_pjsua2 as pj
import structlog

from telephony.errors import CallEnded, TelephonyError
from telephony.packet_audio import PacketPool
from telephony.settings import SipSettings
from telephony.sip_call import CallLink, SipCall, audio_only, headers_of
from telephony.sip_media import AudioPool

log = structlog.get_logger()

SERVICE_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Invite:
    """What an INVITE says; all of it untrusted."""

    caller: str
    called: str
    headers: dict[str, str]


class _Account(pj.Account):  # type: ignore[misc]  # the extension has no types
    def __init__(self, on_call: Callable[[int, str], None]) -> None:
        super().__init__()
        self._on_call = on_call

    def onIncomingCall(self, prm: Any) -> None:
        """An INVITE whose offer we could answer; 488 is already out for any other."""
        self._on_call(prm.callId, prm.rdata.wholeMsg)


class SipLines:
    """The sip thread's work: `SipWork` for the library's life, and the calls by our own number."""

    def __init__(
        self,
        settings: SipSettings,
        new_link: Callable[[], CallLink],
        offer: Callable[[CallLink, Invite], bool],
        num_packet_ports: int = 0,
    ) -> None:
        """`offer` tells asyncio of a new INVITE, and is False if it cannot take it."""
        self._settings, self._new_link, self._offer = settings, new_link, offer
        self._num_packet_ports = num_packet_ports
        self._calls: dict[int, SipCall] = {}
        self._joined: dict[int, int] = {}  # by the lower number
        self._account: _Account | None = None
        self._audio: AudioPool | None = None  # outlives the library: the clock may still look into a port
        self._packet_audio: PacketPool | None = None  # asyncio's, once it is there

    @property
    def audio(self) -> AudioPool:
        """The pool; it is there once the thread has started."""
        assert self._audio is not None
        return self._audio

    @property
    def packet_audio(self) -> PacketPool:
        """The pool of calls that are not SIP's, once the thread has started."""
        assert self._packet_audio is not None
        return self._packet_audio

    @property
    def num_calls(self) -> int:
        """Calls that are not over, in any state."""
        return len(self._calls)

    def open(self) -> None:
        """Create the ports and the account that every call belongs to."""
        self._packet_audio = PacketPool(self._num_packet_ports)
        self._audio = AudioPool(self._settings.max_calls)
        config = pj.AccountConfig()
        config.idUri = f"sip:offhook@{_bracketed(self._settings.bind_address)}"
        config.mediaConfig.transportConfig.boundAddress = self._settings.bind_address
        config.mediaConfig.transportConfig.port = self._settings.rtp_port_min
        config.mediaConfig.transportConfig.portRange = (
            self._settings.rtp_port_max - self._settings.rtp_port_min
        )
        config.mediaConfig.lockCodecEnabled = (
            False  # we answer with one codec; no re-INVITE of ours is needed
        )
        self._account = _Account(self._on_invite)
        self._account.create(config)

    def each_second(self) -> None:
        """Bring every call's figures up to date."""
        for call in list(self._calls.values()):
            call.note_figures()

    def after_events(self) -> None:
        """Let go of calls that are over, outside of their own callbacks."""
        for number in [number for number, call in self._calls.items() if call.is_over]:
            del self._calls[number]
        for first, second in list(self._joined.items()):
            one, other = self._calls.get(first), self._calls.get(second)
            if one is None or other is None:
                del self._joined[first]
            elif one.needs_join or other.needs_join:
                one.join(other)

    def hang_up_all(self) -> None:
        """End every call; an INVITE that still waits gets 503."""
        for call in list(self._calls.values()):
            call.end(SERVICE_UNAVAILABLE)

    def is_idle(self) -> bool:
        """True when no call is left."""
        return not self._calls

    def close(self) -> None:
        """Drop calls and account, in this order; the ports stay until the library is gone."""
        self._calls.clear()
        if self._account is not None:
            self._account.shutdown()
            self._account = None

    def act(self, number: int, action: Callable[[SipCall], None]) -> None:
        """Do something to a live call. Raises CallEnded when it is over."""
        call = self._calls.get(number)
        if call is None or call.is_over:
            raise CallEnded("the call is over")
        action(call)

    def answer(self, number: int) -> None:
        """Give the call its audio and send 200. Raises CallEnded when it is gone or every port is lent."""

        def send(call: SipCall) -> None:
            call.link.audio = self.audio.lend()
            if call.link.audio is None:
                call.end(SERVICE_UNAVAILABLE, headers={"Retry-After": str(self._settings.retry_after_s)})
                raise CallEnded("every audio port is in use; the caller was told 503")
            call.answer_with(200)

        self.act(number, send)

    def join(self, first: int, second: int) -> None:
        """Let two calls' far ends hear each other, until one is over. Raises CallEnded when one is."""
        one, other = self._calls.get(first), self._calls.get(second)
        if one is None or other is None or one.is_over or other.is_over:
            raise CallEnded("one of the two calls is over")
        one.join(other)
        self._joined[min(first, second)] = max(first, second)

    def place(self, link: CallLink, uri: str, shown: str = "", subject: str = "") -> None:
        """Send an INVITE, from the address `shown` and with a Subject (RFC 3261 section 20.36) if there are.

        Raises TelephonyError when every port is in use or the library refuses.
        """
        link.audio = self.audio.lend()
        if link.audio is None:
            raise TelephonyError("every audio port is in use; raise max_calls or end a call")
        call = SipCall(self._account, link)
        try:
            parameters = audio_only()
            parameters.txOption.localUri = shown
            if subject:
                header = pj.SipHeader()
                header.hName, header.hValue = "Subject", subject
                parameters.txOption.headers.append(header)
            call.makeCall(uri, parameters)
        except pj.Error:
            self.audio.give_back(link.audio)
            link.audio = None
            raise
        self._calls[link.number] = call

    def _on_invite(self, pj_id: int, message: str) -> None:
        link = self._new_link()
        call = SipCall(self._account, link, pj_id)
        self._calls[link.number] = call
        shown = call.getInfo()
        link.call_id, link.remote = shown.callIdString, shown.remoteUri
        called = message.split("\r\n", 1)[0].split(" ")[1] if " " in message else ""
        if not self._offer(link, Invite(shown.remoteUri, called, headers_of(message))):
            log.warning("invite_refused", reason="more INVITEs wait for an answer than the gateway can hold")
            call.end(SERVICE_UNAVAILABLE, headers={"Retry-After": str(self._settings.retry_after_s)})


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
