"""Sealed recordings: sample by sample what was written, in any part, also after a crash."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.errors import AudioFileError
from agent.sealed import Keyring, SealedWriter, SealError, SealKey
from agent.sealed_audio import CELL_SAMPLES, SealedAudio, SealedSink, wav_header

KEY = SealKey(b"k" * 32)
KEYS = Keyring([KEY])
SOUND = np.random.default_rng(5).integers(-9000, 9000, (2 * CELL_SAMPLES + 777, 2)).astype(np.int16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a.sealed"
    sink = SealedSink(made, KEY)
    for part in np.array_split(SOUND, 31):
        sink.write(part)
    sink.close()
    return made


def test_the_sound_comes_back_and_is_not_there_in_the_clear(path: Path) -> None:
    with SealedAudio(path, KEYS) as audio:
        assert audio.num_samples == len(SOUND) and audio.is_complete
        np.testing.assert_array_equal(np.concatenate(list(audio.cells())), SOUND)
    assert b"fLaC" not in path.read_bytes()


def test_as_wav_it_can_be_had_in_any_range(path: Path) -> None:
    with SealedAudio(path, KEYS) as audio:
        whole = b"".join(audio.wav(0, audio.num_wav_bytes))
        assert len(whole) == audio.num_wav_bytes
        sound, rate = soundfile.read(io.BytesIO(whole), dtype="int16")
        assert rate == 24_000
        np.testing.assert_array_equal(sound, SOUND)
        for start, stop in ((0, 10), (40, 50), (44, 48), (96_040, 96_050), (191_000, len(whole))):
            assert b"".join(audio.wav(start, stop)) == whole[start:stop]
        assert b"".join(audio.wav(len(whole), len(whole) + 5)) == b""


def test_a_crash_leaves_all_whole_seconds(tmp_path: Path) -> None:
    sink = SealedSink(tmp_path / "a.sealed", KEY)
    sink.write(SOUND)
    sink.sync()
    with SealedAudio(tmp_path / "a.sealed", KEYS) as audio:
        np.testing.assert_array_equal(np.concatenate(list(audio.cells())), SOUND[: 2 * CELL_SAMPLES])
        assert not audio.is_complete
    sink.close()


def test_a_call_of_no_sound_is_a_recording_of_none(tmp_path: Path) -> None:
    SealedSink(tmp_path / "a.sealed", KEY).close()
    with SealedAudio(tmp_path / "a.sealed", KEYS) as audio:
        assert audio.num_samples == 0 and audio.is_complete
        assert b"".join(audio.wav(0, 99)) == wav_header(0)


def test_what_is_missing_changed_or_no_sound_is_told(path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"none\.sealed"):
        SealedAudio(path.with_name("none.sealed"), KEYS)
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    with SealedAudio(path, KEYS) as audio, pytest.raises(SealError, match="cell 0"):
        list(audio.cells())
    with path.open("wb") as file:
        SealedWriter(file, KEY).write(b"no sound", is_last=True)
    with pytest.raises(SealError, match="no sound"):
        SealedAudio(path, KEYS)


def test_an_existing_file_is_never_overwritten(path: Path) -> None:
    with pytest.raises(FileExistsError):
        SealedSink(path, KEY)
