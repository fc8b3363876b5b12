"""The test caller plays on time and reports what was on the two channels."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.energy_gate import Pcm
from agent.errors import AudioFileError
from agent.evaluation.caller import Player, add_arguments, make_report, run
from agent.evaluation.placed_call import PlacedCall
from agent.settings import Settings
from telephony.endpoint import FRAME_SAMPLES, EndpointEvent, EndpointEventKind, EndpointStats
from telephony.errors import BadUri
from tests.agent.evaluation.scenes import channel

SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


def drive(player: Player, heard: Pcm) -> list[Pcm]:
    """Frames that the player says while it hears this, until it hangs up."""
    said = []
    for frame in np.pad(heard, (0, -len(heard) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES):
        reply = player(frame)
        if reply is None:
            break
        said.append(reply)
    return said


def test_the_recording_is_played_at_once_and_whole() -> None:
    pcm = channel([(0.0, 1.0)], 1.0)
    said = np.concatenate(drive(Player(pcm, False, None), np.zeros(24_000 * 10, np.float32)))
    np.testing.assert_array_equal(said[: len(pcm)], pcm)
    assert len(said) / 24_000 == pytest.approx(1.0 + 6.0, abs=0.17)  # then listens on for 6 s and hangs up


def test_it_waits_for_the_end_of_the_greeting() -> None:
    said = drive(Player(channel([(0, 1)], 1.0), True, None), channel([(0.5, 2.0)], 6.0))
    onset_s = next(i for i, frame in enumerate(said) if frame.any()) * 0.08
    assert 2.5 <= onset_s <= 2.8


def test_without_a_greeting_it_speaks_after_eight_seconds() -> None:
    said = drive(Player(channel([(0, 1)], 1.0), True, None), np.zeros(24_000 * 10, np.float32))
    assert next(i for i, frame in enumerate(said) if frame.any()) * 0.08 == pytest.approx(8.0, abs=0.1)


def test_the_duration_holds() -> None:
    player = Player(channel([(0, 1)], 1.0), False, 3.0)
    assert player.limit_s == 3.0
    assert len(drive(player, np.zeros(24_000 * 20, np.float32))) == 250  # it never hangs up by itself


def test_report_of_a_call_with_a_pause_and_an_interruption() -> None:
    caller = channel([(2.0, 3.0), (3.6, 4.5), (6.0, 7.5)], 12.0)
    agent = channel([(0.3, 1.5), (4.8, 6.4), (7.9, 9.5)], 12.0)
    ended = EndpointEvent(EndpointEventKind.ENDED, 0.0, code=200, reason="OK")
    report = make_report(caller, agent, PlacedCall(ended=ended, stats=EndpointStats(codec="PCMU/8000")))
    first, second = report["turns"]
    assert first["gap_s"] == pytest.approx(0.3, abs=0.03) and not first["is_interruption"]
    assert first["pauses"][0] == pytest.approx([3.0, 3.6], abs=0.03)
    assert second["stop_s"] == pytest.approx(0.4, abs=0.03)
    assert second["gap_s"] == pytest.approx(0.4, abs=0.03)
    assert report["overlaps"][0] == pytest.approx([6.0, 6.4], abs=0.03)
    assert report["ended"]["by"] == "agent" and report["line"]["codec"] == "PCMU/8000"
    json.dumps(report)


def test_a_caller_who_says_nothing_has_no_turns() -> None:
    silence, agent = np.zeros(24_000 * 5, np.float32), channel([(0.3, 1.5)], 5.0)
    report = make_report(silence, agent, PlacedCall(stats=EndpointStats(codec="PCMU/8000")))
    assert report["turns"] == []


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_a_bad_address_is_refused() -> None:
    with pytest.raises(BadUri, match="SIP address"):
        run(arguments("tel:123"), Settings())


def test_unreadable_audio_is_refused(tmp_path: Path) -> None:
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"no sound at all")
    with pytest.raises(AudioFileError, match=r"cannot read .*noise\.wav"):
        run(arguments("sip:a@127.0.0.1", "--play", str(noise)), Settings())
    with pytest.raises(AudioFileError, match="cannot read"):
        run(arguments("sip:a@127.0.0.1", "--play", str(tmp_path / "missing.wav")), Settings())
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), 8000)
    with pytest.raises(AudioFileError, match="holds no sound"):
        run(arguments("sip:a@127.0.0.1", "--play", str(empty)), Settings())


def test_a_missing_folder_is_refused_before_the_call(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="there is no folder"):
        run(arguments("sip:a@127.0.0.1", "--record", str(tmp_path / "none" / "both.wav")), Settings())
