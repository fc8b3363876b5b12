"""The demo's parts that need no call: its turns, its clock, and what it prints."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.errors import AgentError
from agent.evaluation import demo
from agent.evaluation.script import Manner
from agent.transcript import Speaker
from tests.agent.evaluation.scenes import RATE_HZ


def test_the_caller_thinks_once_and_interrupts_once() -> None:
    steps = demo.make_steps(seed=1)
    assert sum(bool(one.pauses) for one in steps) == 1
    assert sum(one.step.manner is Manner.CUT_IN for one in steps) == 1
    assert all(np.abs(one.pcm).max() > 0.02 for one in steps)


def test_words_are_moved_to_the_callers_clock(tmp_path: Path) -> None:
    sent = np.random.default_rng(0).normal(0, 0.1, 3 * RATE_HZ).astype(np.float32)
    heard = np.concatenate([np.zeros(4800, np.float32), sent])  # 200 ms later at the caller's end
    folder = tmp_path / "recordings"
    folder.mkdir()
    soundfile.write(folder / "call.flac", np.stack([np.zeros_like(sent), sent], axis=1), RATE_HZ)
    words = [{"speaker": "agent", "text": "hello", "start_s": 1.0, "end_s": 1.5}]
    (folder / "call.json").write_text(json.dumps({"audio": "call.flac", "words": words}))
    (word,) = demo.shifted_words(tmp_path, heard)
    assert (word.speaker, word.text) == (Speaker.AGENT, "hello")
    assert word.start_s == pytest.approx(1.2, abs=1e-3) and word.end_s == pytest.approx(1.7, abs=1e-3)


def test_a_line_that_recorded_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="left no recording"):
        demo.shifted_words(tmp_path, np.zeros(100, np.float32))


def test_only_the_dialogue_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"event": "said", "speaker": "caller", "start_s": 2.5, "pii_text": "a [large] latte"}
    for line in (json.dumps(said), json.dumps({"event": "call_ended"}), "no json", "[]", ""):
        demo._print_said(line)
    printed = capsys.readouterr().out
    assert "a [large] latte" in printed and "2.50 s" in printed and printed.count("\n") == 1
