"""A placed call keeps both channels on one clock and hangs up when its speaker does."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.energy_gate import Pcm
from agent.errors import AudioFileError
from agent.evaluation.placed_call import (
    AHEAD_SAMPLES,
    Tape,
    caller_settings,
    converse,
    read_audio,
    write_channels,
)
from telephony.endpoint import (
    FRAME_SAMPLES,
    TICKS_PER_FRAME,
    EndpointEvent,
    EndpointEventKind,
    EndpointStats,
    HeardFrame,
)


def frame(number: int, heard: float = 0.0, played: float = 0.0) -> HeardFrame:
    """Frame `number` of a call, each channel at one level."""
    pcm, back = np.full(FRAME_SAMPLES, heard, np.float32), np.full(FRAME_SAMPLES, played, np.float32)
    return HeardFrame(pcm, back, (number + 1) * TICKS_PER_FRAME, 0.0)


class Loop:
    """An endpoint that hears fixed frames and plays what was sent, in order."""

    call_id, remote = "loop", "sip:loop@127.0.0.1"

    def __init__(self, num_frames: int) -> None:
        self._left = num_frames
        self.sent = np.zeros(0, np.float32)
        self.latest: HeardFrame | None = None
        self.queued_samples = 0
        self._is_ours = False

    async def frames(self) -> AsyncIterator[Pcm]:
        for number in range(self._left):
            if self._is_ours:
                return
            played = self.sent[number * FRAME_SAMPLES :][:FRAME_SAMPLES]
            self.latest = HeardFrame(
                np.full(FRAME_SAMPLES, number, np.float32), played, (number + 1) * TICKS_PER_FRAME, 0.0
            )
            yield self.latest.pcm

    async def events(self) -> AsyncIterator[EndpointEvent]:
        yield EndpointEvent(EndpointEventKind.ENDED, 0.0, code=200, is_ours=self._is_ours)

    def send(self, pcm: Pcm) -> None:
        self.sent = np.concatenate([self.sent, pcm])

    def hang_up(self, code: int = 200, reason: str = "") -> None:
        self._is_ours = self._is_ours or self._left > 0

    def stats(self) -> EndpointStats:
        return EndpointStats(codec="PCMU/8000")

    def flush(self) -> int:
        return 0

    def set_frame_phase(self, phase: int) -> None: ...

    def send_dtmf(self, digits: str) -> None: ...

    def refer(self, target: str) -> None: ...


async def test_what_the_speaker_says_is_on_the_tape_next_to_what_it_heard() -> None:
    call = await converse(Loop(20), lambda heard: heard + 0.5, limit_s=60.0)
    caller, agent = call.tape.channels()
    assert len(caller) == len(agent) == 20 * FRAME_SAMPLES
    assert not caller[:AHEAD_SAMPLES].any()
    ahead = AHEAD_SAMPLES // FRAME_SAMPLES
    np.testing.assert_array_equal(caller[AHEAD_SAMPLES:], agent[: -ahead * FRAME_SAMPLES] + 0.5)
    assert call.stats.codec == "PCMU/8000"


async def test_the_speaker_hangs_up() -> None:
    call = await converse(Loop(50), lambda heard: None if heard[0] == 9 else heard, limit_s=60.0)
    assert call.is_ended_by_us and call.tape.seconds == pytest.approx(0.8)


async def test_the_limit_ends_a_call() -> None:
    assert (await converse(Loop(500), lambda heard: heard, limit_s=2.0)).tape.seconds == pytest.approx(2.0)


def test_lost_frames_keep_their_place() -> None:
    tape = Tape()
    for number in (0, 1, 4):
        tape.push(frame(number, heard=0.1 * (number + 1), played=0.01))
    caller, agent = tape.channels()
    assert len(agent) == 5 * FRAME_SAMPLES
    assert [round(float(agent[i * FRAME_SAMPLES]), 3) for i in range(5)] == [0.1, 0.2, 0.0, 0.0, 0.5]
    assert not caller[2 * FRAME_SAMPLES : 4 * FRAME_SAMPLES].any()
    assert [len(side) for side in Tape().channels()] == [0, 0]


def test_audio_is_read_at_our_rate_and_mixed_to_one_channel(tmp_path: Path) -> None:
    times = np.arange(8000) / 8000
    tone = np.sin(2 * np.pi * 440 * times)
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone, np.zeros(8000)], axis=1), 8000)
    pcm = read_audio(tmp_path / "stereo.wav")
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    np.testing.assert_allclose(pcm[500:-500], wanted[500:-500], atol=0.01)


def test_channels_are_written_left_and_right(tmp_path: Path) -> None:
    caller, agent = np.full(100, 0.25, np.float32), np.full(100, -0.5, np.float32)
    write_channels(tmp_path / "new" / "both.flac", caller, agent)
    sound, rate_hz = soundfile.read(tmp_path / "new" / "both.flac")
    assert rate_hz == 24_000 and sound[50].tolist() == [0.25, -0.5]
    with pytest.raises(AudioFileError, match=r"give a \.wav or \.flac"):
        write_channels(tmp_path / "both.xyz", caller, agent)


def test_the_callers_end_has_ports_of_its_own_and_may_call_out() -> None:
    settings = caller_settings(codecs=("G722",))
    assert settings.outbound_enabled and settings.rtp_port_min == 30_000 and settings.codecs == ("G722",)
