"""The common half of endpoints: order, bounds, and what is given back, on rings that move as told."""

from typing import cast

import numpy as np

from telephony.endpoint import FRAME_SAMPLES, EndpointEvent, EndpointEventKind, HeardFrame
from telephony.ring_endpoint import MAX_WAITING_EVENTS, MAX_WAITING_FRAMES, RingEndpoint
from telephony.sip_media import CallAudio, RingCounts


class Rings:
    """Frames in order; what was sent is counted."""

    def __init__(self) -> None:
        self.frames: list[HeardFrame] = []
        self.queued_samples = 0

    def read(self, phase: int) -> HeardFrame | None:
        return self.frames.pop(0) if self.frames and self.frames[0].tick % 4 == phase else None

    def write(self, pcm: np.ndarray) -> int:
        self.queued_samples += len(pcm)
        return 0

    def flush(self) -> int:
        dropped, self.queued_samples = self.queued_samples, 0
        return dropped

    def counts(self) -> RingCounts:
        return RingCounts(5, 1, 2, 3)


class Endpoint(RingEndpoint):
    """A call with such rings."""

    def __init__(self) -> None:
        super().__init__()
        self.rings: Rings | None = Rings()

    @property
    def _audio(self) -> CallAudio | None:
        return cast(CallAudio | None, self.rings)

    def _give_back(self) -> None:
        self.rings = None


def event(kind: EndpointEventKind, digit: str = "") -> EndpointEvent:
    return EndpointEvent(kind, 0.0, digit=digit)


def frame(tick: int) -> HeardFrame:
    return HeardFrame(
        np.full(FRAME_SAMPLES, tick, np.float32), np.zeros(FRAME_SAMPLES, np.float32), tick, 0.0
    )


async def test_frames_wait_in_order_and_the_oldest_is_lost() -> None:
    call = Endpoint()
    assert call.rings is not None
    call.set_frame_phase(5)
    call.rings.frames = [frame(1 + 4 * number) for number in range(MAX_WAITING_FRAMES + 2)]
    call.on_tick()
    assert len(call.rings.frames) == MAX_WAITING_FRAMES + 2  # nobody has answered yet
    call.on_event(event(EndpointEventKind.ANSWERED))
    call.on_tick()
    call.on_event(event(EndpointEventKind.ENDED))
    ticks = []
    async for pcm in call.frames():
        assert call.latest is not None and pcm[0] == call.latest.tick
        ticks.append(call.latest.tick)
    assert ticks == [1 + 4 * number for number in range(2, MAX_WAITING_FRAMES + 2)]
    figures = call._ring_figures()
    assert (figures["frames_dropped"], figures["playout_underruns"]) == (2 + 2, 1)  # 5 ticks are two frames


async def test_after_the_end_nothing_is_played_and_the_rings_are_gone() -> None:
    call = Endpoint()
    call.send(np.zeros(100, np.float32))
    assert (call.queued_samples, call.flush(), call.queued_samples) == (100, 100, 0)
    call.on_event(event(EndpointEventKind.ENDED))
    call.send(np.zeros(100, np.float32))
    call.set_playout_bound(1)
    assert call.rings is None and (call.queued_samples, call.flush()) == (0, 0)


async def test_events_are_bounded_and_the_end_is_the_last() -> None:
    call = Endpoint()
    for number in range(MAX_WAITING_EVENTS + 10):
        call.on_event(event(EndpointEventKind.DTMF, str(number % 10)))
    call.on_event(event(EndpointEventKind.ENDED))
    seen = [one.kind async for one in call.events()]
    assert len(seen) == MAX_WAITING_EVENTS and seen[-1] is EndpointEventKind.ENDED
    assert (await call.settled()).kind is EndpointEventKind.ENDED
