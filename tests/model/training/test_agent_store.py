"""The agent's sentences as sound and as tokens: stored once, the same bytes, made anew when their list is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import save_module
from model.errors import CheckpointError
from model.training import agent_store
from model.training.agent_store import (
    ANNOUNCED,
    LINES,
    build_sentences,
    encode_sentences,
    load_library,
    save_library,
    stored_sentences,
)
from model.training.agent_voice import AgentSentence
from model.voices_phones import TimedPhone, TimedWord
from tests.model import tiny
from tests.model.training import scripts


def _speak(texts: Sequence[str]) -> list[AgentSentence]:
    """Noise of a length that depends on the text."""
    sentences = []
    for text in texts:
        pcm = 0.1 * tiny.noise(2400 * len(text), seed=len(text)).numpy()
        words = [TimedWord(text, 0.01, 0.08)]
        phones = [TimedPhone("ah", 0.0, 0.09)]
        sentences.append(AgentSentence(text, pcm.astype(np.float32), words, phones, text == "soft"))
    return sentences


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(agent_store, "SENTENCES_PER_SHARD", 2)
    assert len(list(build_sentences(tmp_path / "agent", LINES, ["one", "two", "soft"], _speak))) == 2
    assert len(list(build_sentences(tmp_path / "agent", ANNOUNCED, ["else"], _speak))) == 1
    return tmp_path / "agent"


def test_sentences_come_back_lines_first(sounds: Path) -> None:
    found = stored_sentences(sounds)
    assert [(one.text, one.is_soft) for one in found] == [
        ("one", False), ("two", False), ("soft", True), ("else", False)
    ]  # fmt: skip
    np.testing.assert_allclose(found[0].pcm, _speak(["one"])[0].pcm, atol=2e-5)
    assert found[3].words == [TimedWord("else", 0.01, 0.08)] and found[3].phones[0].phone == "ah"


def test_a_list_is_spoken_once_and_another_anew(sounds: Path) -> None:
    assert not list(build_sentences(sounds, LINES, ["one", "two", "soft"], _speak))
    (sounds / "lines-0001.npz").unlink()
    assert [path.name for path in build_sentences(sounds, LINES, ["one", "two", "soft"], _speak)] == [
        "lines-0001.npz"
    ]
    assert len(list(build_sentences(sounds, LINES, ["one"], _speak))) == 1
    assert [one.text for one in stored_sentences(sounds)] == ["one", "else"]


def test_tokens_are_those_of_the_sounds_and_only_what_is_new_is_encoded(sounds: Path, tmp_path: Path) -> None:
    codec = tiny.codec()
    save_module(codec, tmp_path / "codec.safetensors", torch.float32)
    folder = tmp_path / "tokens"
    folder.mkdir()
    names = [path.name for path in encode_sentences(codec, tmp_path / "codec.safetensors", sounds, folder)]
    assert sorted(names) == ["library-announced-0000.npz", "library-lines-0000.npz", "library-lines-0001.npz"]
    assert not list(encode_sentences(codec, tmp_path / "codec.safetensors", sounds, folder))
    lines = load_library(folder, LINES)
    assert [(one.text, one.is_soft) for one in lines] == [
        ("", False), ("one", False), ("two", False), ("soft", True)
    ]  # fmt: skip
    assert lines[0].codes.shape == (8, 1) and lines[1].words == [("one", 0)]
    (sounds / "announced-0000.npz").unlink()
    list(encode_sentences(codec, tmp_path / "codec.safetensors", sounds, folder))
    with pytest.raises(CheckpointError, match=r"no tokens of the agent; run the stage `tokens` first"):
        load_library(folder, ANNOUNCED)


def test_the_same_lines_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_library(scripts.library(), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_without_sentences_the_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no sentence of the agent; run the stage `recordings` first"):
        stored_sentences(tmp_path)
