"""Recordings: both channels in their place, and a broken disk that hurts nothing."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent import recording as module
from agent.recording import AudioFormat, FlacSink, Recorder, Stereo, WavSink
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ, TICK_SAMPLES, TICKS_PER_FRAME, HeardFrame


def frame(tick: int, caller: float = 0.0, agent: float = 0.0) -> HeardFrame:
    pcm = np.full(FRAME_SAMPLES, caller, np.float32)
    return HeardFrame(pcm, np.full(FRAME_SAMPLES, agent, np.float32), tick, tick * 0.02)


def click(at: int, tick: int, on_agent: bool) -> HeardFrame:
    quiet, loud = np.zeros(FRAME_SAMPLES, np.float32), np.zeros(FRAME_SAMPLES, np.float32)
    loud[at] = 0.9
    return HeardFrame(quiet, loud, tick, 0.0) if on_agent else HeardFrame(loud, quiet, tick, 0.0)


@pytest.mark.parametrize("form", ["flac", "wav"])
def test_clicks_stand_where_they_were_heard_and_played(tmp_path: Path, form: AudioFormat) -> None:
    recorder = Recorder(tmp_path / "new" / "folder", "abc", form)
    recorder.push(frame(104))
    recorder.push(click(7, 108, on_agent=False))
    recorder.push(click(1919, 112, on_agent=True))
    recorder.push(click(5, 121, on_agent=False))  # ticks 113 to 117 were lost
    recorder.close({"consent": True})
    assert recorder.failure == ""
    audio, rate = soundfile.read(recorder.path)
    assert rate == SAMPLE_RATE_HZ and audio.shape == (21 * TICK_SAMPLES, 2)
    assert np.flatnonzero(audio[:, 0] > 0.5).tolist() == [4 * TICK_SAMPLES + 7, 17 * TICK_SAMPLES + 5]
    assert np.flatnonzero(audio[:, 1] > 0.5).tolist() == [12 * TICK_SAMPLES - 1]
    assert json.loads(recorder.sidecar_path.read_text()) == {"audio": recorder.path.name, "consent": True}


def test_full_scale_does_not_wrap(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "abc", "wav")
    recorder.push(frame(4, caller=1.5, agent=-1.5))
    recorder.close({})
    audio, _ = soundfile.read(recorder.path, dtype="int16")
    assert audio[0].tolist() == [32767, -32768]


@pytest.mark.parametrize(("name", "kind"), [("a.wav", WavSink), ("a.flac", FlacSink)])
def test_what_a_crash_leaves_is_readable(tmp_path: Path, name: str, kind: type[WavSink | FlacSink]) -> None:
    sink = kind(tmp_path / name)
    noise = np.random.default_rng(1).integers(-1000, 1000, (SAMPLE_RATE_HZ, 2)).astype(np.int16)
    sink.write(noise)
    sink.sync()
    sink.write(noise[:10])
    with soundfile.SoundFile(tmp_path / name) as left:  # as if we had died here
        audio = left.read(20_000, dtype="int16")
    np.testing.assert_array_equal(audio, noise[:20_000])
    sink.close()


def test_the_agents_channel_is_written_later_by_the_path_between_them(tmp_path: Path) -> None:
    """And its place holds over lost frames, and over a codec that changes."""
    noise = np.random.default_rng(2).uniform(-0.5, 0.5, 5 * FRAME_SAMPLES).astype(np.float32)
    recorder = Recorder(tmp_path, "abc", "wav")
    for index in (0, 1, 3, 4):
        part = noise[index * FRAME_SAMPLES : (index + 1) * FRAME_SAMPLES]
        recorder.push(HeardFrame(part, part, 8 + index * TICKS_PER_FRAME, 0.0), 264 if index < 4 else 225)
    recorder.close({})
    audio, _ = soundfile.read(recorder.path, dtype="float32")
    noise[2 * FRAME_SAMPLES : 3 * FRAME_SAMPLES] = 0
    np.testing.assert_allclose(audio[:, 0], noise, atol=1 / 32768)
    np.testing.assert_allclose(audio[:264, 1], 0)
    np.testing.assert_allclose(audio[264:, 1], noise[:-264], atol=1 / 32768)


def test_a_folder_that_cannot_be_ends_the_recording_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    recorder = Recorder(tmp_path / "file", "abc", "flac")
    recorder.push(frame(4))
    recorder.close({})
    recorder.push(frame(8))
    assert "NotADirectoryError" in recorder.failure or "FileExistsError" in recorder.failure


class FullDisk:
    """Takes one write, then says what a full disk says."""

    def __init__(self, path: Path) -> None:
        self.num_writes = 0

    def write(self, stereo: Stereo) -> None:
        self.num_writes += 1
        if self.num_writes > 1:
            raise OSError(28, "No space left on device")

    def sync(self) -> None: ...

    def close(self) -> None: ...


def test_a_full_disk_ends_the_recording_only(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "abc", "wav", FullDisk)
    for index in range(20):
        recorder.push(frame(4 + TICKS_PER_FRAME * index))
    recorder.close({})
    assert "No space left" in recorder.failure
    assert recorder._queue.empty() or recorder._queue.qsize() <= 2


def test_a_slow_disk_drops_and_counts_and_keeps_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_FRAMES", 4)
    gate = threading.Event()

    def slow(path: Path) -> WavSink:
        gate.wait(5)
        return WavSink(path)

    recorder = Recorder(tmp_path, "abc", "wav", slow)
    for index in range(10):
        recorder.push(frame(4 + 4 * index, caller=0.5))
    assert recorder.frames_dropped == 6
    gate.set()
    recorder.close({})
    audio, _ = soundfile.read(recorder.path)
    assert len(audio) == 4 * FRAME_SAMPLES


def test_what_is_unwanted_goes_also_after_the_disk_was_full_or_stood_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_FRAMES", 2)
    monkeypatch.setattr(module, "JOIN_TIMEOUT_S", 0.1)
    back = threading.Event()

    class Full(WavSink):
        def write(self, stereo: Stereo) -> None:
            super().write(stereo)
            raise OSError(28, "No space left on device")

    class Still(WavSink):
        def write(self, stereo: Stereo) -> None:
            back.wait(5)
            super().write(stereo)

    full = Recorder(tmp_path, "full", "wav", Full)
    full.push(frame(4))
    full._thread.join(5)
    assert "No space left" in full.failure and list(tmp_path.iterdir()), "there is something to delete"
    full.discard()
    assert not list(tmp_path.iterdir())
    still = Recorder(tmp_path, "still", "wav", Still)
    for index in range(8):
        still.push(frame(4 + 4 * index))
    still.discard()
    assert "did not take" in still.failure
    back.set()
    still._thread.join(5)
    assert not still._thread.is_alive() and not list(tmp_path.iterdir())


def test_what_another_call_recorded_is_not_deleted(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "abc", "wav")
    recorder.close({})

    def taken(path: Path) -> WavSink:
        return WavSink(recorder.path)

    other = Recorder(tmp_path, "abd", "wav", taken)
    other.path = recorder.path
    other.discard()
    assert recorder.path.exists() and "FileExistsError" in other.failure


def test_file_names_hold_no_number_and_never_overwrite(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "abc", "flac")
    recorder.close({})
    assert recorder.path.name.endswith("Z-abc.flac")
    with pytest.raises(OSError):
        WavSink(recorder.path)
