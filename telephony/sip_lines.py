"""Every live call of a gateway, the accounts they belong to, and the pool of their audio. Sip thread only."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import offhook_pjsua2 as pj
import structlog

from telephony.digest import DigestGuard, Verdict
from telephony.errors import CallEnded, TelephonyError
from telephony.packet_audio import PacketPool
from telephony.settings import SipSettings
from telephony.sip_call import CallLink, SipCall, audio_only, headers_of
from telephony.sip_gate import open_gate
from telephony.sip_media import AudioPool
from telephony.sip_trunks import CallAccount, OnRegistered, TrunkAccounts
from telephony.trunks import Trunk

log = structlog.get_logger()

UNAUTHORIZED, SERVER_ERROR, SERVICE_UNAVAILABLE = 401, 500, 503


@dataclass(frozen=True, slots=True)
class Invite:
    """What an INVITE says; all of it untrusted."""

    caller: str
    called: str
    source: str  # the sender's IP address; the only part that is not the sender's word
    headers: dict[str, str]
    trunk: str = ""  # the name of the trunk that it came by; "" for peers that are in none


class SipLines:
    """The sip thread's work: `SipWork` for the library's life, and the calls by our own number."""

    def __init__(
        self,
        settings: SipSettings,
        new_link: Callable[[], CallLink],
        offer: Callable[[CallLink, Invite], bool],
        num_packet_ports: int = 0,
        trunks: Mapping[str, Trunk] | None = None,
        on_registered: OnRegistered = lambda name, is_registered, result: None,
    ) -> None:
        """`offer` tells asyncio of a new INVITE, and is False if it cannot take it."""
        self._settings, self._new_link, self._offer = settings, new_link, offer
        self._num_packet_ports = num_packet_ports
        self._calls: dict[int, SipCall] = {}
        self._joined: dict[int, int] = {}  # by the lower number
        self._trunks = dict(trunks or {})
        self._accounts = TrunkAccounts(settings, self._on_invite, on_registered)
        self._guard = DigestGuard()
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
        """Create the ports and the accounts that calls belong to."""
        self._packet_audio = PacketPool(self._num_packet_ports)
        self._audio = AudioPool(self._settings.max_calls)
        self._accounts.open(self._trunks)

    def set_trunks(self, trunks: Mapping[str, Trunk]) -> None:
        """Have exactly these trunks from now on; live calls go on as they began."""
        self._accounts.apply(trunks)
        self._trunks = dict(trunks)

    def open_gate(self) -> None:
        """Say whose SIP is heard."""
        open_gate(self._settings, self._trunks.values())

    def account_id(self, source: str) -> int:
        """The library's number of the account that a source address belongs to."""
        number: int = self._accounts.account_of(host_of(source)).getId()
        return number

    def each_second(self) -> None:
        """Bring every call's figures up to date."""
        for call in list(self._calls.values()):
            call.note_figures()
        self._accounts.sweep()

    def after_events(self) -> None:
        """Let go of calls that are over, outside of their own callbacks; see to the registrations."""
        self._accounts.look_after()
        for number in [number for number, call in self._calls.items() if call.is_over]:
            del self._calls[number]
        for first, second in list(self._joined.items()):
            one, other = self._calls.get(first), self._calls.get(second)
            if one is None or other is None:
                del self._joined[first]
            elif one.needs_join or other.needs_join:
                one.join(other)

    def drain(self) -> None:
        """Tell the registrars that no calls are to come here."""
        self._accounts.unregister_all()

    def hang_up_all(self) -> None:
        """End every call; an INVITE that still waits gets 503. Registrars are told, too."""
        for call in list(self._calls.values()):
            call.end(SERVICE_UNAVAILABLE)
        self._accounts.unregister_all()

    def is_idle(self) -> bool:
        """True when no call and no registration is left."""
        return not self._calls and self._accounts.is_unregistered()

    def close(self) -> None:
        """Drop calls and accounts, in this order; the ports stay until the library is gone."""
        self._calls.clear()
        self._accounts.close()

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

    def place(self, link: CallLink, uri: str, shown: str = "", subject: str = "", trunk: str = "") -> None:
        """Send an INVITE by that trunk, or as ourselves.

        It comes from the address `shown` and has a Subject (RFC 3261 section 20.36) if there are. Raises
        TelephonyError when there is no such trunk, every port is in use or the library refuses.
        """
        account = self._accounts.by_name(trunk)
        link.audio = self.audio.lend()
        if link.audio is None:
            raise TelephonyError("every audio port is in use; raise max_calls or end a call")
        link.dtmf_ways = account.dtmf_ways
        call = SipCall(account, link)
        try:
            parameters = audio_only()
            parameters.txOption.localUri = shown
            if subject:
                header = pj.SipHeader()
                header.hName, header.hValue = "Subject", subject
                parameters.txOption.headers.append(header)
            call.makeCall(account.uri(uri), parameters)
        except pj.Error:
            self.audio.give_back(link.audio)
            link.audio = None
            raise
        self._calls[link.number] = call

    def _on_invite(self, account: CallAccount, pj_id: int, rdata: Any) -> None:
        link = self._new_link()
        link.dtmf_ways = account.dtmf_ways
        call = SipCall(account, link, pj_id)
        self._calls[link.number] = call
        try:
            self._weigh(call, account, rdata)
        except Exception as error:  # the library would only print it, and keep the call for ever
            log.error("invite_failed", error=type(error).__name__)
            call.answer_with(SERVER_ERROR)

    def _weigh(self, call: SipCall, account: CallAccount, rdata: Any) -> None:
        """Ask for a proof, offer the call to asyncio, or refuse it."""
        link, message, source = call.link, rdata.wholeMsg, host_of(rdata.srcAddress)
        shown = call.getInfo()
        link.call_id, link.remote = shown.callIdString, shown.remoteUri
        called, headers = requested(message), headers_of(message)
        if not self._is_proved(call, account, headers, called, source):
            return
        if not self._offer(link, Invite(shown.remoteUri, called, source, headers, account.name)):
            log.warning("invite_refused", reason="more INVITEs wait for an answer than the gateway can hold")
            # `end`, within this callback, would drop the header.
            call.answer_with(SERVICE_UNAVAILABLE, {"Retry-After": str(self._settings.retry_after_s)})

    def _is_proved(
        self, call: SipCall, account: CallAccount, headers: dict[str, str], called: str, source: str
    ) -> bool:
        """Whether the caller may call by this trunk; if not, they have been asked to prove who they are."""
        trunk = account.trunk
        if trunk is None or not trunk.callers:
            return True
        now_s = time.monotonic()
        given = headers.get("authorization", "")
        verdict = self._guard.judge(given, "INVITE", called, trunk.secrets_by_user, trunk.realm, now_s)
        if verdict is Verdict.PROVED:
            return True
        if given and verdict is Verdict.NOT_PROVED:
            log.warning("caller_not_proved", trunk=account.name)
            pj.strike(source)  # where it is no listed peer: some more, and it is banned
        is_stale = verdict is Verdict.STALE
        parameters = audio_only()
        parameters.statusCode = UNAUTHORIZED
        for challenge in self._guard.challenges(trunk.realm, now_s, is_stale=is_stale):
            header = pj.SipHeader()
            header.hName, header.hValue = "WWW-Authenticate", challenge
            parameters.txOption.headers.append(header)
        call.answer(parameters)  # hangup, within this callback, would drop the headers
        return False


def requested(message: str) -> str:
    """The Request-URI of a request; like the library's parser, words may stand apart by any white space."""
    words = message.lstrip().split("\n", 1)[0].split()
    return words[1] if len(words) > 1 else ""


def host_of(source: str) -> str:
    """The IP address of the library's "192.0.2.7:5060" or "[2001:db8::7]:5060"."""
    return source.rpartition(":")[0].strip("[]")
