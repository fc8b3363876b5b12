"""`offhook recordings`, on files that a recorder wrote."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import SecretStr

from agent.__main__ import main
from agent.errors import ConfigError
from agent.recording import Recorder
from agent.recording_index import RecordingIndex, Wanted
from agent.recordings_command import keyring
from agent.sealed import SealKey
from agent.settings import RecordingSettings
from telephony.endpoint import FRAME_SAMPLES, TICKS_PER_FRAME, HeardFrame

KEY = SealKey(bytes(range(32)))
LEVEL = np.full(FRAME_SAMPLES, 0.25, np.float32)


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OFFHOOK_RECORDING__KEY", KEY.secret.hex())
    monkeypatch.setenv("OFFHOOK_RECORDING__FOLDER", str(tmp_path))
    recorder = Recorder(tmp_path, "abc", "flac", key=KEY)
    for number in range(15):
        recorder.push(HeardFrame(LEVEL, -LEVEL, (number + 1) * TICKS_PER_FRAME, 0.0))
    recorder.close({"words": [{"text": "hello"}], "seconds": 1.2, "end_reason": "caller_hung_up"})
    assert recorder.failure == "" and recorder.path.suffix == ".sealed"
    return recorder.path


def test_a_sealed_recording_is_opened_with_its_words(sealed: Path, tmp_path: Path) -> None:
    assert main(["recordings", "open", str(sealed), str(tmp_path / "call.flac")]) == 0
    sound, rate = soundfile.read(tmp_path / "call.flac", dtype="int16")
    assert rate == 24_000 and sound.shape == (15 * FRAME_SAMPLES, 2)
    assert set(sound[:, 0]) == {8192} and set(sound[:, 1]) == {-8192}
    words = json.loads((tmp_path / "call.json").read_text())
    assert words["audio"] == "call.flac" and words["words"] == [{"text": "hello"}]


def test_played_it_is_wav_on_standard_output(sealed: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["recordings", "open", str(sealed), "-"]) == 0
    out = capfdbinary.readouterr().out
    assert out.startswith(b"RIFF") and len(out) == 44 + 15 * FRAME_SAMPLES * 4


def test_no_key_the_wrong_key_and_an_existing_file_are_told(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recordings", "open", str(sealed), str(sealed)]) == 2
    monkeypatch.setenv("OFFHOOK_RECORDING__KEY", "00" * 32)
    assert main(["recordings", "open", str(sealed), str(tmp_path / "a.wav")]) == 1
    assert "no key for this file" in capsys.readouterr().err
    monkeypatch.delenv("OFFHOOK_RECORDING__KEY")
    assert main(["recordings", "open", str(sealed), str(tmp_path / "a.wav")]) == 2
    assert "OFFHOOK_RECORDING__KEY" in capsys.readouterr().err


def test_lists_show_sealed_ones_to_whoever_has_the_key(
    sealed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recordings", "list"]) == 0
    assert capsys.readouterr().out.split()[:1] == [sealed.name]
    index = RecordingIndex(sealed.parent, keyring(RecordingSettings(key=SecretStr(KEY.secret.hex()))))
    ((entry,), _) = index.page(Wanted())
    assert index.find(sealed.stem) == entry and index.audio_path(entry) == sealed
    sidecar = index.sidecar(entry)
    assert sidecar is not None and sidecar["seconds"] == 1.2
    assert RecordingIndex(sealed.parent).page(Wanted()) == ([], None)


def test_old_ones_are_named_and_then_deleted(sealed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sealed.parent.iterdir():
        os.utime(path, (1e9, 1e9))
    assert main(["recordings", "purge", "--days", "30", "--dry-run"]) == 0
    assert capsys.readouterr().out.split() == [sealed.stem] and sealed.exists()
    assert main(["recordings", "purge"]) == 2
    assert main(["recordings", "purge", "--days", "30"]) == 0
    assert list(sealed.parent.iterdir()) == []


def test_what_is_unwanted_after_all_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "abc", "wav")
    recorder.push(HeardFrame(LEVEL, LEVEL, TICKS_PER_FRAME, 0.0))
    recorder.note({"words": []})
    recorder.discard()
    assert list(tmp_path.iterdir()) == [] and recorder.failure == ""


def test_keys_come_from_a_setting_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(KEY.secret.hex())
    found = keyring(RecordingSettings(key_file=path))
    assert found is not None and found.current == KEY
    assert keyring(RecordingSettings()) is None
    with pytest.raises(ConfigError, match="OFFHOOK_RECORDING__KEY holds no key"):
        keyring(RecordingSettings(key=SecretStr("")))
