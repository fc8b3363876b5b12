"""One pjsua2 call: its callbacks become `EndpointEvent`s, its media meets a native port. Sip thread only.

`CallLink` is all that the asyncio side knows of a call. It holds no pjsua2 call, so that no cycle keeps one.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import offhook_pjsua2 as pj
import structlog

from telephony.call import Call, CallEvent, CallState
from telephony.endpoint import EndpointEvent, EndpointEventKind, EndpointStats
from telephony.sip_media import CallAudio

log = structlog.get_logger()

SAME_DIGIT_S = 0.5  # a digit that comes again by another way within it is the same
FORBIDDEN, NOT_ACCEPTABLE_HERE = 403, 488


@dataclass(slots=True, eq=False)
class CallLink:
    """What the sip thread and asyncio share of one call; each field has one writer."""

    number: int  # ours, unique for the gateway's life; PJSIP's own ids are used again and again
    post: Callable[[EndpointEvent], None]  # to asyncio, from any thread
    audio: CallAudio | None = None  # sip thread, before ANSWERED; asyncio gives it back after ENDED
    call_id: str = ""  # sip thread, before any event
    remote: str = ""
    retry_after_s: int | None = None  # sip thread, before ENDED
    has_telephone_event: bool = False  # sip thread, with each media change
    dtmf_ways: frozenset[str] = frozenset({"rfc4733", "info"})  # sip thread, before any event
    stats: EndpointStats = field(default_factory=EndpointStats)  # sip thread, replaced as a whole


class SipCall(pj.Call):  # type: ignore[misc]  # the extension has no types
    """A call in either direction, from its creation to DISCONNECTED; then `is_over`."""

    def __init__(self, account: Any, link: CallLink, pj_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(account, pj_id)
        self.link = link
        self.state = Call()
        self._is_inbound = pj_id != pj.PJSUA_INVALID_ID
        if self._is_inbound:
            self.state.apply(CallEvent.INVITE_RECEIVED)
        self.is_over = False
        self._is_ours = False
        self._is_held = False
        self._has_media = False
        self._is_announced = False
        self._last_digit = "", "", 0.0  # with its way and time
        self._is_joined = False  # its sound goes to another call, and that one's to it
        self.needs_join = False  # its stream is a new one since

    # What the gateway asks for.

    def answer_with(self, code: int, headers: dict[str, str] | None = None, reason: str = "") -> None:
        """Send a response to the INVITE; headers of ours go along."""
        self.answer(self._parameters(code, reason, headers or {}))

    def end(self, code: int, reason: str = "", headers: dict[str, str] | None = None) -> None:
        """BYE, CANCEL, or the final response `code`, whichever the state asks for. Harmless when over."""
        if self.is_over or not self.isActive():
            return
        self._is_ours = True
        refusal = code if self.state.state is CallState.INCOMING or self.state.state is CallState.EARLY else 0
        self.hangup(self._parameters(refusal, reason, headers or {}))

    def press(self, digits: str) -> None:
        """Send RFC 4733 events, or INFO requests to a far end that takes none."""
        parameters = pj.CallSendDtmfParam()
        is_event = self.link.has_telephone_event
        parameters.method = pj.PJSUA_DTMF_METHOD_RFC2833 if is_event else pj.PJSUA_DTMF_METHOD_SIP_INFO
        parameters.digits = digits
        self.sendDtmf(parameters)

    def transfer(self, target: str) -> None:
        """Send a REFER; its NOTIFYs become TRANSFER events."""
        self.xfer(target, audio_only())

    def join(self, other: "SipCall") -> None:
        """Let the two far ends hear each other and no longer us; also after either's stream was replaced.

        Nothing happens while either has no stream; `needs_join` stays set then. Keeps no reference.
        """
        mine, theirs = self._part_from_us(), other._part_from_us()
        self.needs_join = other.needs_join = mine is None or theirs is None
        if mine is not None and theirs is not None:
            mine.startTransmit(theirs)
            theirs.startTransmit(mine)

    def _part_from_us(self) -> Any:
        """The stream, cut from our own port; None while there is none."""
        self._is_joined = True
        index, status = self._audio_media()
        if index is None or status != pj.PJSUA_CALL_MEDIA_ACTIVE or self.link.audio is None:
            return None
        stream = self.getAudioMedia(index)
        for source, sink in ((stream, self.link.audio.port), (self.link.audio.port, stream)):
            with contextlib.suppress(pj.Error):  # cut already
                source.stopTransmit(sink)
        return stream

    def note_figures(self) -> None:
        """Bring the link's statistics up to date; they stay as they are while there is no stream."""
        index, _ = self._audio_media()
        if index is None:
            return
        try:
            stream, figures = self.getStreamInfo(index), self.getStreamStat(index)
        except pj.Error:
            return
        rtcp = figures.rtcp
        self.link.stats = EndpointStats(
            codec=f"{stream.codecName}/{stream.codecClockRate}",
            rx_packets=rtcp.rxStat.pkt,
            rx_lost=rtcp.rxStat.loss,
            rx_discarded=rtcp.rxStat.discard + rtcp.rxStat.dup,
            rx_jitter_s=rtcp.rxStat.jitterUsec.last / 1e6,
            tx_packets=rtcp.txStat.pkt,
            tx_lost=rtcp.txStat.loss,
            round_trip_s=rtcp.rttUsec.last / 1e6,
            jitter_buffer_s=figures.jbuf.avgDelayMsec / 1e3,
            foreign_packets=pj.foreignRtpPackets(self.getId()),
        )

    @staticmethod
    def _parameters(code: int, reason: str, headers: dict[str, str]) -> Any:
        parameters = audio_only()
        parameters.statusCode, parameters.reason = code, reason
        for name, value in headers.items():
            header = pj.SipHeader()
            header.hName, header.hValue = name, value
            parameters.txOption.headers.append(header)
        return parameters

    # What PJSIP tells us. An exception here would only be printed; what can fail is caught.

    def onCallState(self, prm: Any) -> None:
        """The INVITE session moved."""
        shown = self.getInfo()
        if not self.link.call_id:
            self.link.call_id, self.link.remote = shown.callIdString, shown.remoteUri
        event = _EVENTS.get(shown.state)
        if event is None or (event is CallEvent.INVITE_RECEIVED and self._is_inbound):
            return
        self.state.apply(event)
        if event is CallEvent.PROGRESS and not self._is_inbound:
            self._post(EndpointEventKind.RINGING, code=shown.lastStatusCode, reason=shown.lastReason)
        elif event is CallEvent.ANSWERED:
            self._announce()
        elif event is CallEvent.ENDED:
            self.link.retry_after_s = retry_after_s(prm)
            self.is_over = True
            self._post(
                EndpointEventKind.ENDED,
                code=shown.lastStatusCode,
                reason=shown.lastReason,
                is_ours=self._is_ours,
            )

    def onCallMediaState(self, prm: Any) -> None:
        """SDP was negotiated: connect, hold or resume."""
        index, status = self._audio_media()
        if index is None or self.link.audio is None:
            return
        if status == pj.PJSUA_CALL_MEDIA_ACTIVE:
            self._connect(index, self.link.audio)
        elif self._has_media:
            self._hold(index, self.link.audio)

    def onStreamDestroyed(self, prm: Any) -> None:
        """A stream ends, with the call or by a re-INVITE: its last figures."""
        self.note_figures()

    def onDtmfDigit(self, prm: Any) -> None:
        """A digit began (RFC 4733), or came by INFO; whoever sends it both ways means one."""
        way, now_s = "info" if prm.method == pj.PJSUA_DTMF_METHOD_SIP_INFO else "rfc4733", time.monotonic()
        digit, last_way, last_s = self._last_digit
        is_echo = digit == prm.digit and way != last_way and now_s - last_s < SAME_DIGIT_S
        if way not in self.link.dtmf_ways or is_echo:
            return
        self._last_digit = prm.digit, way, now_s
        self._post(EndpointEventKind.DTMF, digit=prm.digit)

    def onCallTransferRequest(self, prm: Any) -> None:
        """The far end wants to send us elsewhere: never, a caller does not place calls through us."""
        prm.statusCode = FORBIDDEN

    def onCallReplaceRequest(self, prm: Any) -> None:
        """Somebody wants to take this call over: likewise."""
        prm.statusCode = FORBIDDEN

    def onCallTransferStatus(self, prm: Any) -> None:
        """A NOTIFY about our REFER."""
        self._post(EndpointEventKind.TRANSFER, code=prm.statusCode, reason=prm.reason)

    def _audio_media(self) -> tuple[int | None, int]:
        """Index and status of the audio stream; None without one. A declined one may stand before it."""
        if self.is_over:
            return None, 0
        shown = self.getInfo()  # held: its parts point into it
        found = [(m.index, m.status) for m in shown.media if m.type == pj.PJMEDIA_TYPE_AUDIO]
        in_use = [one for one in found if one[1] != pj.PJSUA_CALL_MEDIA_NONE]
        return next(iter(in_use + found), (None, 0))

    def _connect(self, index: int, audio: CallAudio) -> None:
        if self._is_joined:
            self.needs_join = True
        else:
            stream = self.getAudioMedia(index)
            stream.startTransmit(audio.port)
            audio.port.startTransmit(stream)
        self.link.has_telephone_event = self.getStreamInfo(index).audTxEventPt >= 0
        self._has_media = True
        if self._is_held:
            self._is_held = False
            self._post(EndpointEventKind.RESUMED)
        self._announce()

    def _hold(self, index: int, audio: CallAudio) -> None:
        """Cut the bridge's connections: the model hears digital silence, not the far end's music."""
        try:
            stream = self.getAudioMedia(index)
            stream.stopTransmit(audio.port)
            audio.port.stopTransmit(stream)
        except pj.Error:
            pass  # inactive both ways: there is no stream left to cut
        if not self._is_held:
            self._is_held = True
            self._post(EndpointEventKind.HELD)

    def _announce(self) -> None:
        """ANSWERED, once, when both the ACK and the media are there."""
        audio = self.link.audio
        if self._is_announced or not self._has_media or audio is None:
            return
        if self.state.state is CallState.CONFIRMED:
            self._is_announced = True
            self.note_figures()
            audio.port.start()
            self._post(EndpointEventKind.ANSWERED, code=200)

    def _post(self, kind: EndpointEventKind, **values: Any) -> None:
        self.link.post(EndpointEvent(kind, time.monotonic(), **values))


def audio_only() -> Any:
    """Parameters of a call operation; the library's default would offer video and real-time text as well."""
    parameters = pj.CallOpParam(True)
    parameters.opt.audioCount, parameters.opt.videoCount, parameters.opt.textCount = 1, 0, 0
    return parameters


# CONNECTING, between the 2xx and its ACK, is folded into CONFIRMED.
_EVENTS = {
    pj.PJSIP_INV_STATE_CALLING: CallEvent.INVITE_SENT,
    pj.PJSIP_INV_STATE_INCOMING: CallEvent.INVITE_RECEIVED,
    pj.PJSIP_INV_STATE_EARLY: CallEvent.PROGRESS,
    pj.PJSIP_INV_STATE_CONFIRMED: CallEvent.ANSWERED,
    pj.PJSIP_INV_STATE_DISCONNECTED: CallEvent.ENDED,
}


def headers_of(message: str) -> dict[str, str]:
    """A SIP message's headers by lower-case name, repeated ones joined by ", ", folded ones unfolded."""
    found: dict[str, str] = {}
    head = message.replace("\r\n", "\n").split("\n\n", 1)[0].replace("\n ", " ").replace("\n\t", " ")
    for line in head.split("\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            key = name.strip().lower()
            found[key] = f"{found[key]}, {value.strip()}" if key in found else value.strip()
    return found


def retry_after_s(prm: Any) -> int | None:
    """What the far end's final response says about trying again (RFC 3261 section 20.33)."""
    if prm.e.type != pj.PJSIP_EVENT_TSX_STATE or prm.e.body.tsxState.type != pj.PJSIP_EVENT_RX_MSG:
        return None
    text = headers_of(prm.e.body.tsxState.src.rdata.wholeMsg).get("retry-after", "")
    digits = text.split(";")[0].split("(")[0].strip()
    return int(digits) if digits.isdecimal() else None
