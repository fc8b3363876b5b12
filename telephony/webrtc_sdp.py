"""The SDP of a WebRTC call: what we understand of an offer, and our answer to it. No I/O here.

One audio stream of Opus and at most one data channel association, bundled; every other media line is refused
in the answer, as RFC 9429 section 5.3.1 wants it. Source: RFC 8866, RFC 8843 (BUNDLE), RFC 7587 (Opus).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from aiortc.rtcdtlstransport import X509_DIGEST_ALGORITHMS, RTCDtlsFingerprint
from aiortc.rtcicetransport import RTCIceCandidate, RTCIceParameters
from aiortc.sdp import DTLS_ROLE_SETUP, MediaDescription, SessionDescription, candidate_to_sdp

from telephony.errors import BadOffer

MAX_SDP_CHARS = 65_536
MAX_MEDIA_LINES = 16
MAX_CANDIDATES = 64  # each one makes us send checks to an address that the offer names
MAX_MESSAGE_BYTES = 65_536  # on the data channel, each way
DEFAULT_SCTP_PORT = 5_000
RTP_PROFILES = ("UDP/TLS/RTP/SAVPF", "RTP/SAVPF")
SCTP_PROFILES = ("UDP/DTLS/SCTP", "DTLS/SCTP")
OUR_DIRECTION = {"sendrecv": "sendrecv", "sendonly": "recvonly"}


@dataclass(frozen=True, slots=True)
class Events:
    """How the far end sends pressed digits (RFC 4733)."""

    payload_type: int
    clock_hz: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What an offer asks for, as far as we serve it."""

    description: SessionDescription
    audio: MediaDescription
    opus: int  # payload type
    events: Events | None
    data: MediaDescription | None  # the line of the data channels

    @property
    def ice(self) -> RTCIceParameters:
        """How to reach the far end's ICE agent; of a bundle, the first line's count."""
        assert self._first.ice is not None  # the parser makes one for each line
        return self._first.ice

    @property
    def fingerprints(self) -> list[RTCDtlsFingerprint]:
        """Of the far end's certificate."""
        assert self._first.dtls is not None
        return self._first.dtls.fingerprints

    @property
    def is_passive(self) -> bool:
        """True if the far end wants to be DTLS's server. Where it leaves the choice to us, it is."""
        assert self._first.dtls is not None
        return self._first.dtls.role != "client"

    @property
    def candidates(self) -> list[RTCIceCandidate]:
        """Where the far end might be reached over UDP."""
        found = [one for line in self._bundled for one in line.ice_candidates]
        return [one for one in found if one.protocol.lower() == "udp" and one.component == 1][:MAX_CANDIDATES]

    @property
    def max_message_bytes(self) -> int:
        """What the far end takes in one data channel message (RFC 8841 section 6)."""
        capabilities = self.data.sctpCapabilities if self.data is not None else None
        return capabilities.maxMessageSize if capabilities is not None else MAX_MESSAGE_BYTES

    @property
    def sctp_port(self) -> int:
        """Of the far end's association."""
        return (self.data.sctp_port if self.data is not None else None) or DEFAULT_SCTP_PORT

    @property
    def _bundled(self) -> list[MediaDescription]:
        lines = (self.audio, self.data)
        served = [line for line in lines if line is not None]
        return sorted(served, key=self.description.media.index)

    @property
    def _first(self) -> MediaDescription:
        return self._bundled[0]


def read_offer(sdp: str) -> Offer:
    """Understand an offer. Raises BadOffer: it is no SDP, or asks for nothing that we can serve."""
    if len(sdp) > MAX_SDP_CHARS:
        raise BadOffer(f"it is longer than {MAX_SDP_CHARS} characters")
    try:
        description = SessionDescription.parse(sdp)
    except Exception:  # the parser asserts, splits and looks up as it goes: any of it means a bad text
        raise BadOffer("it is no SDP") from None
    if not 0 < len(description.media) <= MAX_MEDIA_LINES:
        raise BadOffer(f"it has {len(description.media)} media lines, not 1 to {MAX_MEDIA_LINES}")
    audio = _only(description, "audio", RTP_PROFILES)
    if audio is None:
        raise BadOffer("it has no audio line; add a microphone track before making the offer")
    data = _only(description, "application", SCTP_PROFILES)
    offer = Offer(description, audio, _opus(audio), _events(audio), data)
    _check(offer)
    return offer


def write_answer(
    offer: Offer,
    *,
    ice: RTCIceParameters,
    candidates: Sequence[RTCIceCandidate],
    fingerprints: Sequence[RTCDtlsFingerprint],
    ssrc: int,
) -> str:
    """Our answer to an offer that `read_offer` accepted, complete with every candidate of ours."""
    served = offer._bundled
    transport = [
        *(f"a=candidate:{candidate_to_sdp(one)}" for one in candidates),
        "a=end-of-candidates",
        f"a=ice-ufrag:{ice.usernameFragment}",
        f"a=ice-pwd:{ice.password}",
        *(f"a=fingerprint:{one.algorithm} {one.value}" for one in fingerprints),
        f"a=setup:{DTLS_ROLE_SETUP['client' if offer.is_passive else 'server']}",
    ]
    lines = [
        "v=0",
        f"o=- {secrets.randbits(62)} 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        *([f"a=group:BUNDLE {' '.join(line.rtp.muxId for line in served)}"] if _is_bundle(offer) else []),
        "a=msid-semantic: WMS *",
    ]
    for line in offer.description.media:
        if line is offer.audio:
            lines += [*_audio_lines(offer, ssrc), *transport]
        elif line is offer.data:
            lines += [*_data_lines(line), *transport]
        else:
            formats = " ".join(map(str, line.fmt))
            mid = [f"a=mid:{line.rtp.muxId}"] if line.rtp.muxId else []
            lines += [f"m={line.kind} 0 {line.profile} {formats}", "c=IN IP4 0.0.0.0", "a=inactive", *mid]
    return "\r\n".join(lines) + "\r\n"


def _audio_lines(offer: Offer, ssrc: int) -> list[str]:
    opus, events = offer.opus, offer.events
    own = [opus] if events is None else [opus, events.payload_type]
    direction = OUR_DIRECTION[offer.audio.direction or "sendrecv"]
    lines = [
        f"m=audio 9 {offer.audio.profile} {' '.join(map(str, own))}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a={direction}",
        *([f"a=mid:{offer.audio.rtp.muxId}"] if offer.audio.rtp.muxId else []),
        "a=rtcp-mux",
        f"a=rtpmap:{opus} opus/48000/2",
        f"a=fmtp:{opus} minptime=20;useinbandfec=1;stereo=0;maxplaybackrate=24000",
        "a=ptime:20",
    ]
    if events is not None:
        lines += [f"a=rtpmap:{events.payload_type} telephone-event/{events.clock_hz}"]
    if direction == "sendrecv":
        lines += ["a=msid:offhook offhook-audio", f"a=ssrc:{ssrc} cname:offhook"]
    return lines


def _data_lines(line: MediaDescription) -> list[str]:
    return [
        f"m=application 9 {line.profile} webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        *([f"a=mid:{line.rtp.muxId}"] if line.rtp.muxId else []),
        f"a=sctp-port:{DEFAULT_SCTP_PORT}",
        f"a=max-message-size:{MAX_MESSAGE_BYTES}",
    ]


def _only(description: SessionDescription, kind: str, profiles: Sequence[str]) -> MediaDescription | None:
    """The first line of this kind that is offered and not refused."""
    for line in description.media:
        if line.kind == kind and line.profile in profiles and line.port:
            return line
    return None


def _opus(audio: MediaDescription) -> int:
    for codec in audio.rtp.codecs:
        if codec.mimeType.lower() == "audio/opus" and codec.clockRate == 48_000:
            assert codec.payloadType is not None
            return codec.payloadType
    raise BadOffer("its audio is not Opus at 48000 Hz, the one codec that we take here")


def _events(audio: MediaDescription) -> Events | None:
    """Digits come at the clock of the audio if there is a choice (RFC 4733 section 2.1)."""
    found = [codec for codec in audio.rtp.codecs if codec.mimeType.lower() == "audio/telephone-event"]
    found.sort(key=lambda codec: codec.clockRate != 48_000)
    if not found or found[0].payloadType is None:
        return None
    return Events(found[0].payloadType, found[0].clockRate)


def _is_bundle(offer: Offer) -> bool:
    """Whether all that we serve shares one transport, as the offer proposes it."""
    mids = {line.rtp.muxId for line in offer._bundled}
    return any(group.semantic == "BUNDLE" and mids <= set(group.items) for group in offer.description.group)


def _check(offer: Offer) -> None:
    if len(offer._bundled) > 1 and not _is_bundle(offer):
        raise BadOffer("audio and data channel are not in one BUNDLE group")
    if not offer.audio.rtcp_mux:
        raise BadOffer("its audio line lacks a=rtcp-mux")
    if (offer.audio.direction or "sendrecv") not in OUR_DIRECTION:
        raise BadOffer("its audio line sends nothing; the microphone's direction must be sendrecv")
    if not (offer.ice.usernameFragment and offer.ice.password):
        raise BadOffer("it lacks a=ice-ufrag and a=ice-pwd")
    if offer._first.dtls is None:
        raise BadOffer("it lacks a=setup")
    if not any(one.algorithm.lower() in X509_DIGEST_ALGORITHMS for one in offer.fingerprints):
        raise BadOffer("it lacks a=fingerprint of SHA-256 or stronger")
    payload_types = {offer.opus} | ({offer.events.payload_type} if offer.events else set())
    if not all(0 <= number <= 127 for number in payload_types):
        raise BadOffer("its payload types are not within 0 to 127")
