"""Music for callers who wait: any file, at our rate and level, without a seam."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.errors import ConfigError
from agent.hold_music import PEAK, HoldMusic, load_music
from telephony.endpoint import FRAME_SAMPLES
from tests.signals import find_tone, tone


def test_a_file_of_any_rate_is_heard_at_ours_and_never_too_loud(tmp_path: Path) -> None:
    sound = tone(440, 0.5, 44_100, 0.9)
    soundfile.write(tmp_path / "a.flac", np.stack([sound, sound], axis=1), 44_100)
    music = load_music(tmp_path / "a.flac")
    assert len(music) % FRAME_SAMPLES == 0 and 0.5 <= len(music) / 24_000 < 0.58
    assert np.abs(music).max() == pytest.approx(PEAK, rel=1e-3)
    assert find_tone(music[:9600], 24_000) == pytest.approx(440, abs=3)
    assert abs(music[11_999]) < 0.01  # it ends faded


def test_it_goes_on_from_its_beginning() -> None:
    music = HoldMusic(np.arange(2 * FRAME_SAMPLES, dtype=np.float32))
    frames = [music.next() for _ in range(5)]
    assert [frame[0] for frame in frames] == [0, FRAME_SAMPLES, 0, FRAME_SAMPLES, 0]


@pytest.mark.parametrize("what", ["missing", "no sound", "silent", "empty"])
def test_a_file_that_is_no_music_is_told_at_the_start(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.wav"
    if what == "no sound":
        path.write_text("la la la")
    elif what != "missing":
        soundfile.write(path, np.zeros(8000 if what == "silent" else 0, np.float32), 8000)
    with pytest.raises(ConfigError, match="hold_music"):
        load_music(path)
