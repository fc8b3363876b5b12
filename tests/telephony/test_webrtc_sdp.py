"""Offers that we serve and offers that we do not; and whatever else may come in their place."""

import pytest
from aiortc.rtcdtlstransport import RTCDtlsFingerprint
from aiortc.rtcicetransport import RTCIceCandidate, RTCIceParameters
from aiortc.sdp import SessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.errors import BadOffer
from telephony.webrtc_sdp import Events, read_offer, write_answer

FINGERPRINT = ":".join(["AB"] * 32)
# As a browser writes it, cut down to what counts; three media lines, one of them not for us.
OFFER = f"""v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1 2
a=extmap-allow-mixed
a=msid-semantic: WMS stream
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1 1 udp 2113937151 4f3a2c1e-aaaa-bbbb-cccc-0123456789ab.local 51234 typ host generation 0
a=candidate:2 1 tcp 1518280447 192.0.2.9 9 typ host tcptype active
a=ice-ufrag:u4fr
a=ice-pwd:0123456789abcdefghijklmn
a=ice-options:trickle
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=sendrecv
a=msid:stream track
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=ssrc:3735928559 cname:abc
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=ice-ufrag:u4fr
a=ice-pwd:0123456789abcdefghijklmn
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
a=mid:1
a=sendrecv
a=rtcp-mux
a=rtpmap:96 VP8/90000
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=ice-ufrag:u4fr
a=ice-pwd:0123456789abcdefghijklmn
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
a=mid:2
a=sctp-port:5000
a=max-message-size:262144
""".replace("\n", "\r\n")


def answer_to(sdp: str) -> SessionDescription:
    answer = write_answer(
        read_offer(sdp),
        ice=RTCIceParameters(usernameFragment="ours", password="secretsecretsecretsecret"),
        candidates=[RTCIceCandidate(1, "f", "192.0.2.2", 4000, 1, "udp", "host")],
        fingerprints=[RTCDtlsFingerprint("sha-256", FINGERPRINT)],
        ssrc=7,
    )
    return SessionDescription.parse(answer)


def test_what_a_browser_offers_is_understood() -> None:
    offer = read_offer(OFFER)
    assert (offer.opus, offer.events) == (111, Events(110, 48_000))
    assert offer.is_passive and offer.ice.usernameFragment == "u4fr"
    assert [one.ip for one in offer.candidates] == ["4f3a2c1e-aaaa-bbbb-cccc-0123456789ab.local"]  # no TCP
    assert (offer.sctp_port, offer.max_message_bytes) == (5000, 262_144)


def test_the_answer_serves_audio_and_channel_and_refuses_the_rest() -> None:
    answer = answer_to(OFFER)
    audio, video, data = answer.media
    assert (audio.kind, audio.port, audio.direction) == ("audio", 9, "sendrecv")
    assert [codec.mimeType for codec in audio.rtp.codecs] == ["audio/opus", "audio/telephone-event"]
    assert audio.rtp.codecs[0].parameters["useinbandfec"] == 1
    assert audio.rtp.codecs[0].parameters["stereo"] == 0
    assert (video.kind, video.port, video.direction) == ("video", 0, "inactive")
    assert (data.kind, data.port, data.sctp_port) == ("application", 9, 5000)
    assert [group.items for group in answer.group] == [["0", "2"]]
    for line in (audio, data):
        assert line.ice_candidates_complete and [one.ip for one in line.ice_candidates] == ["192.0.2.2"]
        assert line.dtls is not None and line.dtls.role == "client"


def test_roles_and_directions_are_the_offers_counterpart() -> None:
    active = answer_to(OFFER.replace("actpass", "active").replace("a=sendrecv", "a=sendonly", 1))
    assert active.media[0].dtls is not None and active.media[0].dtls.role == "server"
    assert active.media[0].direction == "recvonly"
    assert active.media[0].ssrc == []


def test_an_offer_of_audio_alone_is_served() -> None:
    alone = OFFER[: OFFER.index("m=video")]
    assert read_offer(alone).data is None
    assert [line.kind for line in answer_to(alone).media] == ["audio"]


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ("", "0 media lines"),
        ("v=0", "0 media lines"),
        ("hello\r\nm=", "no SDP"),
        (OFFER.replace("opus", "speex"), "not Opus"),
        (OFFER.replace("m=audio 9", "m=audio 0"), "no audio line"),
        (OFFER.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "no audio line"),
        (OFFER.replace("a=rtcp-mux\r\n", ""), "rtcp-mux"),
        (OFFER.replace("a=sendrecv", "a=recvonly"), "sendrecv"),
        (OFFER.replace("a=ice-pwd:0123456789abcdefghijklmn\r\n", ""), "ice-ufrag"),
        (OFFER.replace("a=setup:actpass\r\n", ""), "a=setup"),
        (OFFER.replace("sha-256", "sha-1"), "fingerprint"),
        (OFFER.replace("BUNDLE 0 1 2", "BUNDLE 0 1"), "BUNDLE"),
        (OFFER.replace("111", "211"), "payload types"),
        (OFFER + "a=x\r\n" * 20_000, "longer"),
        (OFFER + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * 20, "media lines"),
    ],
)
def test_an_offer_that_cannot_be_served_is_told_why(wrong: str, cause: str) -> None:
    with pytest.raises(BadOffer, match=cause):
        read_offer(wrong)


LINES = OFFER.split("\r\n")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mangled_offers_raise_nothing_but_our_error(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["drop", "double", "cut", "noise", "swap"]))
        if what == "drop":
            del lines[at]
        elif what == "double":
            lines.insert(at, lines[at])
        elif what == "cut":
            lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
        elif what == "noise":
            lines[at] = lines[at][:2] + data.draw(st.text(max_size=20))
        else:
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
    try:
        answer_to("\r\n".join(lines))
    except BadOffer as error:
        assert str(error).startswith("the SDP offer cannot be served")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_raises_nothing_but_our_error(text: str) -> None:
    with pytest.raises(BadOffer):
        read_offer(text)
