"""The engine on a GPU: captured, operator by operator, and as it is on a CPU."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.engine import FRAME_SAMPLES, Engine, StepOutput
from model.program import EagerRunner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DEVICE = "cuda"
SLOTS, STEPS = 3, 30  # beyond the model's window


def engines(folder: Path, kv_dtype: torch.dtype | None = None) -> tuple[Engine, Engine]:
    """Captured and not, of one model each: the fused steps lay a model's tables anew."""
    captured, eager = (
        Engine.load(folder, SLOTS, device=DEVICE, greedy=True, kv_dtype=kv_dtype) for _ in range(2)
    )
    eager._runner = EagerRunner(eager._program)
    return captured, eager


def run(engine: Engine, num_steps: int = STEPS) -> list[StepOutput]:
    """The same calls for every engine: rows pause, a row is told things, a row goes on from a history."""
    draws = np.random.default_rng(0)
    frames = (0.3 * draws.standard_normal((num_steps, SLOTS, FRAME_SAMPLES))).astype(np.float32)
    active: NDArray[np.bool_] = draws.random((num_steps, SLOTS)) < 0.8
    history = draws.integers(0, 30, (9, engine.num_streams)).astype(np.int16)
    engine.start(0, seed=1)
    engine.start(1, seed=2, history=history, caller_pcm=frames[:4, 0].reshape(-1))
    engine.start(2, seed=3)
    engine.say(2, [7, 8, 9])
    outputs = []
    for number in range(num_steps):
        if number == 5:
            engine.silence(0, 3)
            engine.force_text(1, 11)
        if number == 12:
            engine.stop(2)
            engine.start(2, seed=4)
        outputs.append(engine.step(frames[number], active[number]))
    return outputs


@pytest.mark.parametrize("kv_dtype", [None, torch.float8_e4m3fn])
def test_a_captured_step_is_the_step(model_folder: Path, kv_dtype: torch.dtype | None) -> None:
    captured, eager = engines(model_folder, kv_dtype)
    for mine, theirs in zip(run(captured), run(eager), strict=True):
        np.testing.assert_array_equal(mine.tokens, theirs.tokens)
        np.testing.assert_array_equal(mine.text, theirs.text)
        np.testing.assert_allclose(mine.pcm, theirs.pcm, atol=1e-5)


def test_it_says_what_it_says_on_a_cpu(model_folder: Path) -> None:
    captured, _ = engines(model_folder)
    plain = Engine.load(model_folder, SLOTS, greedy=True)
    for mine, theirs in zip(run(captured, 4), run(plain, 4), strict=True):  # later a near tie may have tipped
        np.testing.assert_array_equal(mine.tokens, theirs.tokens)
        np.testing.assert_allclose(mine.pcm, theirs.pcm, atol=1e-3)


def test_a_step_never_waits_for_the_device(model_folder: Path) -> None:
    _, eager = engines(model_folder)
    run(eager)
    pcm = torch.zeros(SLOTS, FRAME_SAMPLES, device=DEVICE)
    everybody = torch.ones(SLOTS, dtype=torch.bool, device=DEVICE)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            eager._program(pcm, everybody)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_engines_of_one_model_leave_nothing_behind(model_folder: Path) -> None:
    model = Engine.load(model_folder, 1, device=DEVICE).model
    held = []
    for num_slots in (2, 4, 2, 4, 2):
        engine = Engine(model, num_slots)
        engine.age(100)
        engine.step(np.zeros((num_slots, FRAME_SAMPLES), np.float32), np.ones(num_slots, np.bool_))
        del engine
        gc.collect()
        torch.cuda.empty_cache()
        held.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert held[2] == held[4], held
