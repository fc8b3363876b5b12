"""Sounds around a caller have the levels, lengths and delays that they are said to have, by the seed."""

import numpy as np
import pytest

from agent.evaluation.stimuli import (
    OVER_SOUNDS,
    LiveEcho,
    at_level,
    draw_room,
    line_rms,
    make_sound,
    noise_bed,
)
from model.channel import resample
from model.conditions import NUM_ROOMS
from model.echo import Echo
from model.noise import SoundPool
from model.order_line import HOURS
from model.voices import AGENT_VOICE, HELD_OUT_VOICES, SAMPLE_RATE_HZ, synthesize
from telephony.endpoint import FRAME_SAMPLES
from tests.signals import tone

VOICE = HELD_OUT_VOICES[0]
CALLER_DBFS = -24.0
EXPECTED_DB = {
    "backchannel": (0, 0),
    "cough": (-6, 6),
    "side_talk": (-8, -8),
    "background": (-15, -15),
    "music": (-18, -10),
}


def level_dbfs(pcm: np.ndarray) -> float:
    return float(20 * np.log10(line_rms(np.asarray(pcm, np.float32))))


@pytest.mark.parametrize("sound", OVER_SOUNDS)
def test_a_sound_has_its_level_and_its_span(sound: str) -> None:
    pcm, start_s, end_s = make_sound(sound, VOICE, CALLER_DBFS, np.random.default_rng(3))
    low, high = EXPECTED_DB[sound]
    assert low - 0.6 <= level_dbfs(pcm) - CALLER_DBFS <= high + 0.6
    assert 0 <= start_s < end_s <= len(pcm) / SAMPLE_RATE_HZ + 1e-6
    assert 0.1 < end_s - start_s < 5.0
    again, *_ = make_sound(sound, VOICE, CALLER_DBFS, np.random.default_rng(3))
    np.testing.assert_array_equal(again, pcm)


def test_recordings_are_what_others_say_where_there_are_some() -> None:
    pool = SoundPool(speech=[tone(700, 2.0, SAMPLE_RATE_HZ)], noises=[tone(900, 2.0, SAMPLE_RATE_HZ)])
    pcm, *_ = make_sound("side_talk", VOICE, CALLER_DBFS, np.random.default_rng(0), pool)
    spectrum = np.abs(np.fft.rfft(pcm[:SAMPLE_RATE_HZ]))
    assert int(np.argmax(spectrum)) == pytest.approx(700, abs=2)
    bed = noise_bed(1.0, -40.0, np.random.default_rng(0), pool)
    assert int(np.argmax(np.abs(np.fft.rfft(bed)))) == pytest.approx(900, abs=2)


def test_noise_has_its_level_on_the_line() -> None:
    for seed in range(3):
        on_line = resample(noise_bed(1.0, -42.0, np.random.default_rng(seed)), SAMPLE_RATE_HZ, 8_000)
        assert 10 * np.log10(np.mean(np.square(on_line))) == pytest.approx(-42.0, abs=0.2)


def test_speech_is_brought_to_a_level() -> None:
    assert level_dbfs(at_level(synthesize("hello", VOICE).pcm, -27.0)) == pytest.approx(-27.0, abs=0.2)
    silence = np.zeros(4800, np.float32)
    np.testing.assert_array_equal(at_level(silence, -27.0), silence)


def test_rooms_are_none_that_training_draws() -> None:
    rooms = [draw_room(np.random.default_rng(seed)) for seed in range(40)]
    assert None in rooms and all(room is None or room >= NUM_ROOMS for room in rooms) and len(set(rooms)) > 5


@pytest.mark.parametrize("return_db", [-20.0, -12.0])
def test_the_echo_comes_back_later_and_as_loud_as_said(return_db: float) -> None:
    said = synthesize(HOURS.text, AGENT_VOICE).pcm[: 30 * FRAME_SAMPLES]
    echo = LiveEcho(Echo(120.0, return_db, NUM_ROOMS))
    back = np.concatenate([echo.push(frame) for frame in said.reshape(-1, FRAME_SAMPLES)])
    ratio_db = 20 * np.log10(np.linalg.norm(back) / np.linalg.norm(said))
    assert ratio_db == pytest.approx(return_db, abs=2.0)
    match = np.correlate(back[: 12 * FRAME_SAMPLES], said[: 8 * FRAME_SAMPLES], "valid")
    assert int(np.argmax(np.abs(match))) / SAMPLE_RATE_HZ == pytest.approx(0.12, abs=0.01)
