"""The native port, connected to itself: what is written is heard, on the real clock."""

import os
import select
import time
from collections.abc import Iterator

import numpy as np
import pytest

from telephony.endpoint import FRAME_SAMPLES, TICK_SAMPLES, TICKS_PER_FRAME, HeardFrame
from telephony.sip_media import AudioPool, CallAudio
from telephony.sip_thread import SipThread
from tests.signals import click_track
from tests.telephony.test_sip_thread import SETTINGS, NoWork


class PoolWork(NoWork):
    """A library with ports, and no call."""

    pool: AudioPool

    def open(self) -> None:
        self.pool = AudioPool(2)


@pytest.fixture
def work() -> Iterator[PoolWork]:
    work = PoolWork()
    thread = SipThread(SETTINGS, work)
    thread.start()
    work.thread = thread  # type: ignore[attr-defined]
    yield work
    thread.stop()


@pytest.fixture
def audio(work: PoolWork) -> CallAudio:
    """A port that hears itself."""
    thread: SipThread = work.thread  # type: ignore[attr-defined]
    audio = thread.submit(work.pool.lend).result(5)
    assert audio is not None
    thread.submit(lambda: audio.port.startTransmit(audio.port)).result(5)
    audio.port.start()
    return audio


def await_tick(work: PoolWork) -> None:
    """Wait on the clock's descriptor, as asyncio would."""
    clock = work.pool.clock.fd()
    assert select.select([clock], [], [], 5)[0], "the clock has stopped"
    os.eventfd_read(clock)


def next_frame(work: PoolWork, audio: CallAudio, phase: int = 0) -> HeardFrame:
    """The next complete frame."""
    while (frame := audio.read(phase)) is None:
        await_tick(work)
    return frame


def test_what_is_written_is_heard_sample_for_sample(work: PoolWork, audio: CallAudio) -> None:
    next_frame(work, audio)
    sound = np.linspace(-1, 1, FRAME_SAMPLES, dtype=np.float32)
    audio.write(sound)
    frames = [next_frame(work, audio) for _ in range(3)]
    heard = np.concatenate([frame.pcm for frame in frames])
    first = int(np.flatnonzero(heard)[0])
    assert first % TICK_SAMPLES == 0
    np.testing.assert_allclose(heard[first : first + FRAME_SAMPLES], sound, atol=1 / 32768)


def test_both_channels_of_a_recording_share_one_clock(work: PoolWork, audio: CallAudio) -> None:
    next_frame(work, audio)
    audio.write(click_track([100], FRAME_SAMPLES))
    frames = [next_frame(work, audio) for _ in range(3)]
    heard = np.concatenate([frame.pcm for frame in frames])
    played = np.concatenate([frame.played for frame in frames])
    at = int(np.argmax(played))
    assert played[at] == pytest.approx(0.9, abs=1e-4)
    assert heard[at] == pytest.approx(0.9, abs=1e-4), "a bridge without a resampler between has no delay"


@pytest.mark.parametrize("phase", range(TICKS_PER_FRAME))
def test_frames_end_on_the_phase_that_was_asked_for(work: PoolWork, audio: CallAudio, phase: int) -> None:
    frames = [next_frame(work, audio, phase) for _ in range(3)]
    assert [frame.tick % TICKS_PER_FRAME for frame in frames] == [phase] * 3
    assert frames[2].tick - frames[0].tick == 2 * TICKS_PER_FRAME
    assert frames[0].at_s <= time.monotonic()


def test_a_change_of_phase_loses_less_than_a_frame(work: PoolWork, audio: CallAudio) -> None:
    before = next_frame(work, audio, 0).tick
    after = next_frame(work, audio, 3).tick
    assert after - before == 7, "three ticks were skipped, four make the frame"


def test_the_queue_keeps_the_newest_and_counts_what_is_late(work: PoolWork, audio: CallAudio) -> None:
    audio.set_bound(FRAME_SAMPLES)
    dropped = audio.write(np.full(3 * FRAME_SAMPLES, 0.5, np.float32))
    assert dropped == 2 * FRAME_SAMPLES
    assert audio.queued_samples <= FRAME_SAMPLES
    assert audio.counts().late_samples == 2 * FRAME_SAMPLES


def test_a_flush_is_silence_after_5_ms_and_no_underrun(work: PoolWork, audio: CallAudio) -> None:
    audio.write(np.full(FRAME_SAMPLES * 3 // 2, 0.5, np.float32))
    heard = next_frame(work, audio).pcm
    while not heard.any():
        heard = next_frame(work, audio).pcm
    audio.flush()
    assert audio.queued_samples == 0
    rest = np.concatenate([next_frame(work, audio).pcm for _ in range(2)])
    if (
        rest.any()
    ):  # the cut came within these frames: from full level it falls to silence in a fade, not a step
        assert float(np.max(np.abs(np.diff(rest)))) <= 0.5 / 100
    assert audio.counts().underruns == 0


def test_running_dry_in_sound_is_one_underrun_and_in_silence_none(work: PoolWork, audio: CallAudio) -> None:
    audio.write(np.zeros(TICK_SAMPLES, np.float32))
    for _ in range(2):
        next_frame(work, audio)
    assert audio.counts().underruns == 0
    audio.write(np.full(TICK_SAMPLES, 0.5, np.float32))
    for _ in range(2):
        next_frame(work, audio)
    assert audio.counts().underruns == 1


def test_a_reader_that_sleeps_loses_ticks_and_knows_how_many(work: PoolWork, audio: CallAudio) -> None:
    clock, first = work.pool.clock, work.pool.clock.tick()
    while clock.tick() < first + 40:  # 32 fit
        await_tick(work)
    lost = audio.counts().ticks_lost
    assert 6 <= lost <= 10 + (clock.tick() - first - 40)
    while (frame := audio.read(0)) is not None and frame.tick < first + 28:
        pass
    assert next_frame(work, audio).tick % TICKS_PER_FRAME == 0, "frames after the hole are whole again"


@pytest.mark.parametrize("bad", [np.zeros(4, np.float64), np.zeros((4, 4), np.float32)[:, 0]])
def test_other_forms_of_sound_are_taken_as_float32(work: PoolWork, audio: CallAudio, bad: np.ndarray) -> None:
    assert audio.write(bad) == 0
    with pytest.raises(ValueError, match="float32"):
        audio.port.write(np.zeros(4, np.int16))
    with pytest.raises(ValueError, match="1920"):
        audio.port.readFrame(np.zeros(4, np.float32), np.zeros(4, np.float32), 0)


def test_the_pool_lends_each_port_once_the_longest_unused_first(work: PoolWork) -> None:
    one, two = work.pool.lend(), work.pool.lend()
    assert one is not None and two is not None and one.port is not two.port
    assert work.pool.lend() is None
    work.pool.give_back(two)
    work.pool.give_back(one)
    again = work.pool.lend()
    assert again is not None and again.port is two.port
    assert work.pool.num_free == 1
