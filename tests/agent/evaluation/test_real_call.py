"""`offhook call` against a real line of the stand-in engine, over real SIP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.bench_gateway import GatewayProcess, free_port
from agent.evaluation.segments import speech_segments
from tests.agent.evaluation.scenes import channel

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def line() -> Iterator[GatewayProcess]:
    with GatewayProcess({"OFFHOOK_WORKER__ENGINE": "standin", "OFFHOOK_WORKER__SLOTS": "1"}) as running:
        yield running


def offhook_call(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent", "call", *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OFFHOOK_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean, check=False)


def test_a_recording_is_played_answered_and_reported(line: GatewayProcess, tmp_path: Path) -> None:
    said, both, report = tmp_path / "said.wav", tmp_path / "both.wav", tmp_path / "report.json"
    pcm = channel([(0.0, 1.5)], 1.5)
    soundfile.write(said, pcm, 24_000)
    uri = f"sip:order@127.0.0.1:{line.sip_port}"
    done = offhook_call(
        uri, "--play", str(said), "--record", str(both), "--json", str(report), "--wait-for-greeting"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sound, rate_hz = soundfile.read(both, dtype="float32")
    assert rate_hz == 24_000 and sound.shape[1] == 2
    (spoken,) = speech_segments(np.ascontiguousarray(sound[:, 0]))
    assert spoken.duration_s == pytest.approx(1.5, abs=0.03)  # the whole recording, without a hole
    found = json.loads(report.read_text())
    greeting = found["agent_segments"][0]
    assert greeting[1] < spoken.start_s  # it waited for the greeting
    (turn,) = found["turns"]
    assert turn["gap_s"] is not None and 0.0 < turn["gap_s"] < 2.0
    assert found["ended"]["by"] == "caller" and found["line"]["codec"] == "PCMU/8000"
    assert "answered after" in done.stdout


def test_nobody_there_is_told(tmp_path: Path) -> None:
    done = offhook_call(f"sip:order@127.0.0.1:{free_port()}", "--answer-within", "2")
    assert done.returncode == 1 and done.stderr.startswith("offhook call: ")
    assert "did not answer in 2 s" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_addresses_and_files_are_told_without_a_call(tmp_path: Path) -> None:
    done = offhook_call("order at home")
    assert done.returncode == 1 and "is not a SIP address" in done.stderr
    done = offhook_call("sip:order@127.0.0.1", "--play", str(tmp_path / "none.wav"))
    assert done.returncode == 1 and "cannot read" in done.stderr
