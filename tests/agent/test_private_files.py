"""Nobody else reads what is kept of a call."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.private_files import make_private_folder, private
from agent.recording import AudioFormat, Recorder
from agent.sealed import SealKey
from telephony.endpoint import FRAME_SAMPLES, HeardFrame


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_file_and_folder_are_ours_alone_and_old_ones_stay(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir(mode=0o750)
    make_private_folder(old)
    make_private_folder(tmp_path / "new" / "folder")
    assert (mode(old), mode(tmp_path / "new" / "folder")) == (0o750, 0o700)
    with open(old / "file", "xb", opener=private) as file:
        file.write(b"x")
    assert mode(old / "file") == 0o600


@pytest.mark.parametrize(("form", "key"), [("wav", None), ("flac", None), ("wav", SealKey(bytes(32)))])
def test_sound_and_words_of_a_call_are_ours_alone(
    tmp_path: Path, form: AudioFormat, key: SealKey | None
) -> None:
    recorder = Recorder(tmp_path / "calls", "abc", form, key=key)
    silence = np.zeros(FRAME_SAMPLES, np.float32)
    recorder.push(HeardFrame(silence, silence, 4, 0.0))
    recorder.close({"words": []})
    assert recorder.failure == ""
    assert [mode(path) for path in (recorder.path, recorder.sidecar_path)] == [0o600, 0o600]
    assert mode(tmp_path / "calls") == 0o700
