"""Frames are equal, nothing is lost between them, and their phase can be set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.framing import FRAME_SAMPLES, Framer


def ramp(samples: int, start: int = 1) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.arange(start, start + samples, dtype=np.float32)


@given(st.lists(st.integers(0, 700), max_size=60))
def test_frames_are_the_stream_whatever_the_chunks(lengths: list[int]) -> None:
    pcm = ramp(sum(lengths))
    framer, frames, start = Framer(), [], 0
    for length in lengths:
        frames += framer.push(pcm[start : start + length])
        start += length
    assert all(len(frame) == FRAME_SAMPLES for frame in frames)
    assert len(frames) * FRAME_SAMPLES + framer.fill_samples == len(pcm)
    if frames:
        np.testing.assert_array_equal(np.concatenate(frames), pcm[: len(frames) * FRAME_SAMPLES])


def test_one_long_chunk_gives_all_its_frames() -> None:
    frames = Framer(4).push(ramp(11))
    np.testing.assert_array_equal(frames, [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_a_frame_given_away_is_not_written_again() -> None:
    framer = Framer(4)
    (first,) = framer.push(ramp(4))
    framer.push(ramp(4, start=50))
    np.testing.assert_array_equal(first, [1, 2, 3, 4])


def test_a_phase_set_at_the_start_ends_the_first_frame_early() -> None:
    framer = Framer(FRAME_SAMPLES, fill_samples=480)
    (frame,) = framer.push(ramp(1440))
    np.testing.assert_array_equal(frame[:480], 0)
    np.testing.assert_array_equal(frame[480:], ramp(1440))


def test_moving_the_phase_forward_puts_silence_before_what_waits() -> None:
    framer = Framer(8)
    framer.push(ramp(3))
    assert framer.align(5) == 2
    (frame,) = framer.push(ramp(3, start=4))
    np.testing.assert_array_equal(frame, [0, 0, 1, 2, 3, 4, 5, 6])


def test_moving_the_phase_back_loses_the_oldest_and_says_how_much() -> None:
    framer = Framer(8)
    framer.push(ramp(5))
    assert framer.align(2) == -3
    (frame,) = framer.push(ramp(6, start=6))
    np.testing.assert_array_equal(frame, [4, 5, 6, 7, 8, 9, 10, 11])


@pytest.mark.parametrize("fill", [-1, 1920])
def test_a_phase_outside_the_frame_is_our_own_mistake(fill: int) -> None:
    with pytest.raises(AssertionError):
        Framer(1920, fill_samples=fill)
