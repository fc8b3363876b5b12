"""Outlines of real files against the samples they were made from."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent import waveform as module
from agent.errors import AudioFileError
from agent.waveform import MAX_KEPT, MIN_STRETCHES, OutlineCache, outline_of

RATE_HZ = 24_000


def write(path: Path, seconds: float = 4.0) -> None:
    """A falling left channel, a right one with a single click at 1 s."""
    samples = np.zeros((int(seconds * RATE_HZ), 2), np.int16)
    samples[:, 0] = np.linspace(32_767, -32_767, len(samples))
    if seconds > 1:
        samples[RATE_HZ, 1] = -20_000
    soundfile.write(path, samples, RATE_HZ)


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_each_stretch_has_its_least_and_greatest_sample(tmp_path: Path, form: str) -> None:
    write(tmp_path / f"a.{form}")
    outline = outline_of(tmp_path / f"a.{form}")
    assert outline.seconds == 4 and outline.peaks.shape == (2, MIN_STRETCHES, 2)
    caller, agent = outline.peaks
    assert caller[0, 1] == 127 and caller[-1, 0] == -127
    assert (np.diff(caller[:, 1].astype(int)) <= 0).all() and (caller[:, 0] <= caller[:, 1]).all()
    clicks = np.flatnonzero(agent.any(axis=1))
    assert list(clicks) == [MIN_STRETCHES // 4] and agent[clicks[0], 0] == round(-20_000 / 258)
    body = outline.as_json()
    assert len(body["caller"]) == len(body["agent"]) == 2 * MIN_STRETCHES and body["seconds"] == 4


def test_blocks_of_reading_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.wav", 3.7)
    whole = outline_of(tmp_path / "a.wav")
    monkeypatch.setattr(module, "BLOCK_STRETCHES", 1)
    np.testing.assert_array_equal(outline_of(tmp_path / "a.wav").peaks, whole.peaks)


@pytest.mark.parametrize("seconds", [0.0, 0.001])
def test_hardly_any_sound_is_an_outline_too(tmp_path: Path, seconds: float) -> None:
    write(tmp_path / "a.wav", seconds)
    assert outline_of(tmp_path / "a.wav").peaks.shape[0] == 2


def test_a_file_is_read_once_and_again_when_it_changes(tmp_path: Path) -> None:
    cache, path = OutlineCache(), tmp_path / "a.wav"
    write(path)
    first = cache.get(path)
    assert cache.get(path) is first
    write(path, 2.0)
    assert cache.get(path).seconds == 2


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    cache = OutlineCache()
    write(tmp_path / "a.wav", 0.05)
    for number in range(MAX_KEPT + 3):
        (tmp_path / f"{number}.wav").symlink_to(tmp_path / "a.wav")
        cache.get(tmp_path / f"{number}.wav")
    assert len(cache._kept) == MAX_KEPT


def test_what_is_no_audio_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFFxxxx")
    with pytest.raises(AudioFileError, match=r"a\.wav cannot be read"):
        OutlineCache().get(tmp_path / "a.wav")
    with pytest.raises(AudioFileError, match="has gone"):
        OutlineCache().get(tmp_path / "b.wav")
