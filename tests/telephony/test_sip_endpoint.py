"""What an endpoint does with events and ticks; with a fake of the native port, so that time stands still."""

from collections import deque
from typing import Any

import numpy as np
import pytest

from telephony.endpoint import FRAME_SAMPLES, EndpointEvent, EndpointEventKind, HeardFrame
from telephony.errors import CallEnded, TelephonyError
from telephony.sip_call import CallLink
from telephony.sip_endpoint import MAX_WAITING_FRAMES, SipEndpoint
from telephony.sip_media import RingCounts
from tests.telephony.test_dtmf_inband import digit_tones


class FakeAudio:
    """Frames that wait, numbered by their samples."""

    def __init__(self) -> None:
        self.waiting: deque[HeardFrame] = deque()
        self.queued_samples = 480

    def hear(self, number: int) -> None:
        pcm = np.full(FRAME_SAMPLES, number, np.float32)
        self.waiting.append(HeardFrame(pcm, pcm, 4 * number, 0.08 * number))

    def read(self, phase: int) -> HeardFrame | None:
        return self.waiting.popleft() if self.waiting else None

    def counts(self) -> RingCounts:
        return RingCounts(ticks_lost=5, underruns=2, late_samples=7)


def event(kind: EndpointEventKind, code: int = 200) -> EndpointEvent:
    return EndpointEvent(kind, 1.0, code=code)


@pytest.fixture
def asked() -> list[int]:
    return []


@pytest.fixture
def given_back() -> list[CallLink]:
    return []


@pytest.fixture
def endpoint(asked: list[int], given_back: list[CallLink]) -> SipEndpoint:
    audio: Any = FakeAudio()
    link = CallLink(7, lambda event: None, audio=audio)
    return SipEndpoint(link, lambda number, action: asked.append(number), given_back.append)


def audio_of(endpoint: SipEndpoint) -> Any:
    return endpoint._link.audio


async def test_frames_begin_with_the_answer_and_end_with_the_call(endpoint: SipEndpoint) -> None:
    audio_of(endpoint).hear(0)
    endpoint.on_tick()
    endpoint.on_event(event(EndpointEventKind.ANSWERED))
    endpoint.on_tick()
    audio_of(endpoint).hear(1)
    endpoint.on_event(event(EndpointEventKind.ENDED))
    heard = [frame[0] async for frame in endpoint.frames()]
    assert heard == [0, 1], "what was complete when the call ended is still delivered"
    assert endpoint.latest is not None and endpoint.latest.tick == 4


async def test_a_reader_that_falls_behind_loses_the_oldest_frames(endpoint: SipEndpoint) -> None:
    endpoint.on_event(event(EndpointEventKind.ANSWERED))
    for number in range(MAX_WAITING_FRAMES + 3):
        audio_of(endpoint).hear(number)
    endpoint.on_tick()
    endpoint.on_event(event(EndpointEventKind.ENDED))
    assert [frame[0] async for frame in endpoint.frames()] == [3, 4, 5, 6]
    assert endpoint.stats().frames_dropped == 3 + 2, "five ticks lost in the ring are two frames more"


async def test_the_end_is_told_last_and_gives_the_audio_back(
    endpoint: SipEndpoint, given_back: list[CallLink]
) -> None:
    for kind in (EndpointEventKind.ANSWERED, EndpointEventKind.HELD, EndpointEventKind.ENDED):
        endpoint.on_event(event(kind))
    assert [one.kind async for one in endpoint.events()] == ["answered", "held", "ended"]
    assert given_back == [endpoint._link]
    stats = endpoint.stats()
    assert (stats.playout_underruns, stats.playout_late_samples) == (2, 7)


async def test_settled_is_the_answer_or_the_end(endpoint: SipEndpoint) -> None:
    endpoint.on_event(event(EndpointEventKind.ANSWERED))
    assert (await endpoint.settled()).kind is EndpointEventKind.ANSWERED
    endpoint.on_event(event(EndpointEventKind.ENDED, 486))
    assert (await endpoint.settled()).code == 486


async def test_a_call_that_is_over_takes_no_orders(endpoint: SipEndpoint, asked: list[int]) -> None:
    endpoint.hang_up()
    assert asked == [7]
    endpoint.on_event(event(EndpointEventKind.ENDED))
    endpoint.hang_up()
    assert asked == [7]
    with pytest.raises(CallEnded):
        endpoint.refer("sip:a@b")
    with pytest.raises(CallEnded):
        endpoint.send_dtmf("1")


@pytest.mark.parametrize("digits", ["", "12x", "1" * 33])
async def test_what_is_no_dtmf_is_refused(endpoint: SipEndpoint, digits: str) -> None:
    with pytest.raises(TelephonyError, match="DTMF is 1 to 32"):
        endpoint.send_dtmf(digits)


async def test_digits_need_a_far_end_that_takes_them(endpoint: SipEndpoint, asked: list[int]) -> None:
    endpoint._link.dtmf_ways = frozenset({"rfc4733"})
    with pytest.raises(TelephonyError, match=r"telephone-event.*add info to the trunk's dtmf"):
        endpoint.send_dtmf("1")
    endpoint._link.has_telephone_event = True
    endpoint.send_dtmf("1")
    endpoint._link.has_telephone_event, endpoint._link.dtmf_ways = False, frozenset({"info"})
    endpoint.send_dtmf("1")
    assert asked == [7, 7]


async def digits_in_the_sound(endpoint: SipEndpoint) -> str:
    """What is told of two digits that are said as sound."""
    sound = digit_tones("42")
    endpoint.on_event(event(EndpointEventKind.ANSWERED))
    for place in range(0, len(sound) - FRAME_SAMPLES, FRAME_SAMPLES):
        pcm = sound[place : place + FRAME_SAMPLES]
        audio_of(endpoint).waiting.append(HeardFrame(pcm, pcm, place, 2.0))
        endpoint.on_tick()
    endpoint.on_event(event(EndpointEventKind.ENDED))
    return "".join([one.digit async for one in endpoint.events() if one.kind is EndpointEventKind.DTMF])


@pytest.mark.parametrize(
    ("ways", "has_event", "told"),
    [({"inband"}, False, "42"), ({"inband"}, True, ""), ({"rfc4733", "info"}, False, "")],
)
async def test_digits_in_the_sound_count_where_asked_for_and_nothing_better_is_known(
    endpoint: SipEndpoint, ways: set[str], has_event: bool, told: str
) -> None:
    endpoint._link.dtmf_ways, endpoint._link.has_telephone_event = frozenset(ways), has_event
    assert await digits_in_the_sound(endpoint) == told
