"""One answered SIP call as a `MediaEndpoint`. asyncio thread only; the gateway feeds it events and ticks."""

from collections.abc import Callable
from dataclasses import replace

from telephony.dtmf_inband import InbandDigits
from telephony.endpoint import EndpointEvent, EndpointEventKind, EndpointStats, HeardFrame
from telephony.errors import TelephonyError
from telephony.ring_endpoint import MAX_WAITING_EVENTS, MAX_WAITING_FRAMES, RingEndpoint
from telephony.sip_call import CallLink, SipCall
from telephony.sip_media import CallAudio
from telephony.sip_uri import checked_uri

__all__ = ["MAX_WAITING_EVENTS", "MAX_WAITING_FRAMES", "SipEndpoint"]

Act = Callable[[int, Callable[[SipCall], None]], None]

MAX_DIGITS = 32  # PJSIP's queue of outgoing digits
DIGITS = frozenset("0123456789*#ABCD")


class SipEndpoint(RingEndpoint):
    """One answered SIP call, in either direction; a `MediaEndpoint`."""

    def __init__(self, link: CallLink, act: Act, take_back: Callable[[CallLink], None]) -> None:
        super().__init__()
        self._link, self._act, self._take_back = link, act, take_back
        self._inband: InbandDigits | None = None

    def _on_frame(self, frame: HeardFrame) -> None:
        """Listen for digits in the sound, where that is asked for and the far end knows no other way."""
        if "inband" not in self._link.dtmf_ways or self._link.has_telephone_event:
            return
        if self._inband is None:
            self._inband = InbandDigits()
        for digit in self._inband.push(frame.pcm):
            self.on_event(EndpointEvent(EndpointEventKind.DTMF, frame.at_s, digit=digit))

    @property
    def _audio(self) -> CallAudio | None:
        return self._link.audio

    def _give_back(self) -> None:
        self._take_back(self._link)

    @property
    def call_id(self) -> str:
        """The SIP Call-ID."""
        return self._link.call_id

    @property
    def number(self) -> int:
        """Our own number of the call."""
        return self._link.number

    @property
    def remote(self) -> str:
        """The far end's URI. Personal."""
        return self._link.remote

    def send_dtmf(self, digits: str) -> None:
        """Press digits by RFC 4733, or by INFO if the far end takes no telephone-event.

        Raises TelephonyError for other characters, more than 32 of them, or a far end that takes neither;
        CallEnded after the call.
        """
        if not digits or not DIGITS.issuperset(digits) or len(digits) > MAX_DIGITS:
            raise TelephonyError(f"DTMF is 1 to {MAX_DIGITS} of 0-9 * # A-D; these {len(digits)} are not")
        self._check_alive()
        if not self._link.has_telephone_event and "info" not in self._link.dtmf_ways:
            raise TelephonyError(
                "the far end takes no telephone-event (RFC 4733), so no digit can reach it; "
                "add info to the trunk's dtmf if it takes INFO"
            )
        self._act(self._link.number, lambda call: call.press(digits))

    def refer(self, target: str) -> None:
        """Blind transfer by REFER. Raises BadUri, or CallEnded after the call."""
        uri = checked_uri(target)
        self._check_alive()
        self._act(self._link.number, lambda call: call.transfer(uri))

    def hang_up(self, code: int = 200, reason: str = "") -> None:
        """End the call; ENDED follows. Harmless when already ended."""
        if self.ended is None:
            self._act(self._link.number, lambda call: call.end(code, reason))

    def stats(self) -> EndpointStats:
        """The latest figures."""
        return replace(self._link.stats, **self._ring_figures())  # type: ignore[arg-type]
