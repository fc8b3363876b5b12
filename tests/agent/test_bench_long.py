"""A long call beside calls that come and go is the call alone, bit for bit; and what is not so is told."""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.bench_long import (
    GROWTH_BYTES,
    BurstCaller,
    Neighbours,
    Proof,
    add_arguments,
    num_tensors,
    prove,
    rss_bytes,
    run,
)
from agent.errors import ConfigError
from agent.settings import Settings, WorkerSettings
from agent.wire import FRAME_SAMPLES
from model.engine import Engine
from tests.model.conftest import model_folder, tokenizer, tokenizer_folder

__all__ = ["model_folder", "tokenizer", "tokenizer_folder"]  # fixtures

STEPS = 200  # of a window of 12


def engines(folder: Path, slots: int = 3) -> tuple[Engine, Engine]:
    torch.set_num_threads(1)
    return Engine.load(folder, slots), Engine.load(folder, slots)


def _proof(folder: Path) -> Proof:
    return prove(*engines(folder), STEPS)


@pytest.mark.timeout(120)
def test_a_long_call_is_the_call_alone(model_folder: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # whose memory no other test moves
        proof = alone.submit(_proof, model_folder).result()
    assert proof.is_within
    assert proof.num_steps == STEPS and proof.num_windows > 16
    assert proof.num_neighbour_calls >= 3 and proof.num_memories_compared == 1
    assert proof.sound_apart < 1e-5 and proof.transcript_apart < 1e-5
    assert proof.warm_tensors > 100 and proof.warm_rss_bytes > 10**7


def test_a_leak_between_rows_is_seen(model_folder: Path) -> None:
    crowded, alone = engines(model_folder)
    lives = crowded._generator.state.child("transformer").child("1")["ring"]

    def leak(proof: Proof) -> None:
        if proof.num_steps == 115:
            with torch.inference_mode():
                lives[1] += 1e-6  # what is said stays the same: that is tokens

    proof = prove(crowded, alone, 120, on_step=leak)
    assert (proof.num_steps_apart, proof.num_memories_apart) == (0, 1)
    assert not proof.is_within


def test_a_row_that_speaks_otherwise_is_seen(model_folder: Path) -> None:
    crowded, alone = engines(model_folder)

    def leak(proof: Proof) -> None:
        if proof.num_steps == 50:
            with torch.inference_mode():
                crowded._generator._tokens["columns"][1] = 5

    proof = prove(crowded, alone, 60, on_step=leak)
    assert proof.num_steps_apart > 0 and proof.first_step_apart == 50
    assert not proof.is_within


def test_what_is_required() -> None:
    proof = Proof(num_steps=100, warm_tensors=10, end_tensors=10)
    assert proof.is_within
    for change in (
        {"num_steps_apart": 1},
        {"num_columns_apart": 1},
        {"num_memories_apart": 1},
        {"sound_apart": 2e-5},
        {"sound_apart": float("inf")},
        {"transcript_apart": 2e-5},
        {"end_rss_bytes": GROWTH_BYTES + 1},
        {"end_tensors": 11},
    ):
        assert not replace(proof, **change).is_within, change
    assert replace(proof, transcript_apart=float("nan"), num_other_texts=3).is_within  # not seen; ties


def test_callers_speak_in_bursts_and_are_the_same_for_a_seed() -> None:
    one, same, other = BurstCaller(1), BurstCaller(1), BurstCaller(2)
    frames = [one() for _ in range(200)]
    assert all(np.array_equal(frame, same()) for frame in frames)
    assert any(not np.array_equal(frame, other()) for frame in frames)
    speaking = sum(bool(frame.any()) for frame in frames)
    assert 40 < speaking < 160 and max(float(np.abs(frame).max()) for frame in frames) <= 0.2


def test_neighbours_come_and_go_and_leave_one_slot_alone(model_folder: Path) -> None:
    crowded, _ = engines(model_folder)
    neighbours, seen = Neighbours(crowded, 1, 0), []
    for _ in range(400):
        pcm, active = np.zeros((3, FRAME_SAMPLES), np.float32), np.zeros(3, np.bool_)
        neighbours.speak(pcm, active)
        seen.append(active)
        assert not pcm[1].any()
    shares = np.mean(seen, axis=0)
    assert shares[1] == 0 and 0.3 < shares[0] < 0.95 and 0.3 < shares[2] < 0.95
    assert neighbours.num_calls >= 6


def test_memory_is_read() -> None:
    before = num_tensors()
    kept = [torch.zeros(1) for _ in range(5)]
    assert num_tensors() >= before + len(kept)
    assert 10**7 < rss_bytes() < 10**11


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_the_command_prints_and_writes(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(worker=WorkerSettings(model_dir=model_folder))
    path = tmp_path / "long.json"
    args = asked("--minutes", "0.1", "--slots", "2", "--json", str(path))
    assert run(args, settings) in (0, 1)  # in so few steps memory is not yet at rest
    assert '"num_steps": 75' in path.read_text()
    printed = capsys.readouterr().out
    assert "batch of 2" in printed and "commit" in printed


@pytest.mark.parametrize(
    "words",
    [
        ("--minutes", "-1"),
        ("--minutes", "0"),
        ("--minutes", "nan"),
        ("--slots", "1"),
        ("--slots", "-1", "--drift"),
    ],
)
def test_what_cannot_be_run_is_said(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--slots is 2 or more"):
        run(asked(*words), Settings())
