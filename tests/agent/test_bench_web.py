"""The measuring WebRTC caller: what it says is on time and whole. Calls: tests/telephony/test_webrtc.py."""

import time

import numpy as np
import pytest

from agent.bench_web import PACKET_S, WIRE_HZ, Microphone, WebPeer


async def test_the_microphone_keeps_time_and_says_what_it_is_given() -> None:
    microphone = Microphone()
    first = microphone.say(np.full(700, 0.5, np.float32))
    assert (first, microphone.say(np.full(10, -0.5, np.float32))) == (0, 2)  # padded to whole packets
    began_s = time.monotonic()
    frames = [await microphone.recv() for _ in range(4)]
    assert time.monotonic() - began_s >= 3 * PACKET_S
    sound = np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in frames])
    assert len(sound) == 4 * PACKET_S * WIRE_HZ
    np.testing.assert_array_equal(sound[:, 0], sound[:, 1])
    assert (sound[: 2 * 700, 0] > 16_000).all() and not sound[2 * 700 : 4 * 480, 0].any()
    assert (sound[4 * 480 : 4 * 480 + 20, 0] < -16_000).all()


async def test_its_offer_has_telephone_events_and_stamps_begin_empty() -> None:
    async with WebPeer("http://127.0.0.1:1", "") as peer:
        offer = await peer.offer()
        assert "a=rtpmap:110 telephone-event/48000" in offer and "webrtc-datachannel" in offer
        assert peer.sent_s == [] and len(peer.heard) == 0
        peer.events += [{"type": "a"}, {"type": "b"}, {"type": "a"}]
        assert await peer.wait("b") == {"type": "b"} and len(peer.events) == 2
        with pytest.raises(TimeoutError):
            await peer.wait("b", 0.01)
