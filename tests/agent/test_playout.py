"""Playout: margins held, late sound lost, silence exact."""

import numpy as np
import pytest
from scipy.signal import lfilter

from agent.playout import FADE_SAMPLES, DcBlocker, Pcm, Playout, SilenceGate
from telephony.endpoint import FRAME_SAMPLES, TICK_SAMPLES
from tests.fakes import FakeEndpoint

SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


def sound(dbfs: float = -20.0) -> Pcm:
    wave = 10 ** (dbfs / 20) * np.sqrt(2) * np.sin(2 * np.pi * 300 * np.arange(FRAME_SAMPLES) / 24_000)
    return np.asarray(wave, np.float32)


def test_near_silence_becomes_exact_silence_and_sound_stays_untouched() -> None:
    gate = SilenceGate()
    assert not gate.push(sound(-60)).any()
    opened = gate.push(sound(-20))
    np.testing.assert_array_equal(opened[FADE_SAMPLES:], sound(-20)[FADE_SAMPLES:])
    np.testing.assert_array_equal(gate.push(sound(-30)), sound(-30))
    assert gate.is_open and gate.is_sounding


def test_a_tail_is_kept_for_the_hold_and_ends_without_a_click() -> None:
    gate = SilenceGate()
    gate.push(sound(-20))
    tail = [gate.push(sound(-58)) for _ in range(4)]
    assert [bool(frame.any()) for frame in tail] == [True, True, True, False]
    assert tail[2][:FADE_SAMPLES].any() and not tail[2][FADE_SAMPLES:].any()
    assert abs(float(tail[2][FADE_SAMPLES - 1])) < 1e-6
    assert not gate.is_sounding


def test_an_onset_late_in_a_frame_opens_it_whole() -> None:
    frame = SILENCE.copy()
    frame[-300:] = sound()[-300:]
    np.testing.assert_array_equal(SilenceGate().push(frame)[-300:], frame[-300:])


@pytest.mark.parametrize("level", [-48.5, -50.5])
def test_between_the_levels_the_gate_stays_as_it_is(level: float) -> None:
    shut, opened = SilenceGate(), SilenceGate()
    opened.push(sound(-20))
    for _ in range(10):
        assert not shut.push(sound(level)).any()
        assert opened.push(sound(level)).any()


def test_an_offset_is_no_sound_and_the_voice_keeps_its_level() -> None:
    """The shipped decoder's silence is a constant 0.016, -36 dBFS."""
    centre, gate = DcBlocker(), SilenceGate()
    offset = np.full(FRAME_SAMPLES, 0.016, np.float32)
    heard = [gate.push(centre.push(frame)) for frame in (offset, sound() + offset, *[offset] * 5)]
    assert not heard[0].any()
    voice = heard[1][FADE_SAMPLES:]
    assert float(np.sqrt(np.mean(voice**2))) == pytest.approx(0.1, rel=0.02)
    assert abs(float(voice[-1600:].mean())) < 1e-3  # whole periods
    assert heard[2].any() and not heard[-1].any()  # the hold, then true silence


def test_the_offset_is_taken_by_the_filter_that_scipy_knows() -> None:
    pcm = np.random.default_rng(0).normal(0.02, 0.1, 5 * FRAME_SAMPLES).astype(np.float32)
    centre = DcBlocker()
    streamed = np.concatenate([centre.push(frame) for frame in pcm.reshape(5, -1)])
    state = [-float(pcm[0])]
    whole, _ = lfilter([1.0, -1.0], [1.0, -DcBlocker.POLE], pcm.astype(np.float64), zi=state)
    np.testing.assert_allclose(streamed, whole, atol=1e-6)


def test_an_offset_that_comes_with_a_new_decoder_is_gone_within_two_frames() -> None:
    centre = DcBlocker()
    centre.push(SILENCE)
    centre.push(np.full(FRAME_SAMPLES, 0.016, np.float32))
    assert float(np.abs(centre.push(np.full(FRAME_SAMPLES, 0.016, np.float32))).max()) < 1e-5


def run(playout: Playout, endpoint: FakeEndpoint, frames: list[Pcm | None]) -> list[int]:
    """Push one frame each 80 ms (None: the step never came); what stood in the queue before each."""
    depths = []
    for frame in frames:
        if frame is not None:
            playout.push(frame)
            depths.append(playout.queued_before_samples)
        endpoint.frame()
    return depths


def test_the_queue_holds_its_margin_from_the_first_word() -> None:
    endpoint = FakeEndpoint()
    playout = Playout(endpoint)
    depths = run(playout, endpoint, [SILENCE, sound(), sound(), SILENCE, sound()])
    assert depths == [0, TICK_SAMPLES, TICK_SAMPLES, TICK_SAMPLES, TICK_SAMPLES]
    assert endpoint.figures.playout_underruns == 0
    said = endpoint.heard_by_caller[FRAME_SAMPLES + TICK_SAMPLES :]
    np.testing.assert_array_equal(said[: 2 * FRAME_SAMPLES], np.concatenate([sound(), sound()]))


def test_sound_first_gets_the_margin_too() -> None:
    endpoint = FakeEndpoint()
    assert run(Playout(endpoint), endpoint, [sound(), sound()]) == [TICK_SAMPLES, TICK_SAMPLES]


def test_what_comes_late_is_lost_and_counted_and_the_delay_does_not_grow() -> None:
    endpoint = FakeEndpoint()
    playout = Playout(endpoint)
    run(playout, endpoint, [SILENCE, sound(), sound()])
    for _ in range(4):  # a step 80 ms late, then both at once
        endpoint.tick()
    playout.push(sound())
    playout.push(sound())
    assert playout.counts.late_samples == FRAME_SAMPLES - TICK_SAMPLES
    assert endpoint.queued_samples <= FRAME_SAMPLES + 2 * TICK_SAMPLES
    endpoint.frame()
    assert run(playout, endpoint, [sound(), SILENCE, sound()])[-1] == TICK_SAMPLES


def test_a_missing_step_is_an_underrun_and_nothing_more() -> None:
    endpoint = FakeEndpoint()
    playout = Playout(endpoint)
    depths = run(playout, endpoint, [SILENCE, sound(), None, sound(), sound()])
    assert endpoint.figures.playout_underruns == 1
    assert max(depths) <= TICK_SAMPLES
    assert playout.counts.late_samples == 0


def test_a_flush_drops_what_waits_and_keeps_every_later_sample_in_place() -> None:
    endpoint = FakeEndpoint()
    playout = Playout(endpoint)
    run(playout, endpoint, [SILENCE, sound()])
    assert playout.flush() == TICK_SAMPLES
    playout.push(SILENCE)
    endpoint.frame()
    assert not endpoint.heard_by_caller[-FRAME_SAMPLES:].any()
    assert endpoint.queued_samples == TICK_SAMPLES
    assert playout.counts.flushed_samples == TICK_SAMPLES
    assert playout.queued_s == pytest.approx(0.02)
