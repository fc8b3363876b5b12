"""A follower takes a row's tokens, and shows where the row computes something else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.engine import FRAME_SAMPLES, Engine
from model.follower import Follower, taken_by

STEPS = 30


def sound(step: int) -> np.ndarray:
    return np.random.default_rng(step).normal(0, 0.1, FRAME_SAMPLES).astype(np.float32)


def step_of(engine: Engine, row: int, frame: np.ndarray) -> np.ndarray:
    pcm = np.zeros((engine.num_slots, FRAME_SAMPLES), np.float32)
    active = np.zeros(engine.num_slots, np.bool_)
    pcm[row], active[row] = frame, True
    said: np.ndarray = engine.step(pcm, active).pcm[row]
    return said


def test_taken_tokens_are_what_the_next_steps_read(model_folder: Path) -> None:
    engine = Engine.load(model_folder, 2)
    engine.start(1, seed=5)
    step_of(engine, 1, sound(0))
    for step in range(1, 8):
        step_of(engine, 1, sound(step))
        taken = taken_by(engine._generator, 1)
        pcm = np.zeros((2, FRAME_SAMPLES), np.float32)
        pcm[1] = sound(step + 1)
        read = engine.step(pcm, np.array([False, True])).tokens[1]
        assert read[0] == int(taken.text) and read[1:9].tolist() == taken.codes[0].tolist()
        # Late codebooks of the caller are read one step after they are filed.
        assert read[10:].tolist() == taken.caller[0, 1:].tolist()


def test_a_follower_stays_with_its_row(model_folder: Path) -> None:
    engine = Engine.load(model_folder, 3)
    engine.start(1, seed=7)
    follower = Follower(engine, 1, seed=7)
    for step in range(STEPS):
        apart = follower.follow(sound(step), step_of(engine, 1, sound(step)))
        assert apart.sound < 1e-5 and apart.transcript < 1e-5 and not apart.has_other_column
    led = follower.generator
    assert led.num_other_hearings == led.num_other_texts == led.num_other_codes == 0


def test_another_seed_draws_otherwise_and_is_led_all_the_same(model_folder: Path) -> None:
    engine = Engine.load(model_folder, 2)
    engine.start(0, seed=7)
    follower = Follower(engine, 0, seed=8)
    for step in range(STEPS):
        apart = follower.follow(sound(step), step_of(engine, 0, sound(step)))
        assert apart.sound < 1e-5 and not apart.has_other_column
    assert follower.generator.num_other_codes > STEPS // 2


@pytest.mark.parametrize("name", ["ring", "columns"])
def test_a_row_whose_memory_was_touched_is_told(model_folder: Path, name: str) -> None:
    engine = Engine.load(model_folder, 2)
    engine.start(0, seed=7)
    follower = Follower(engine, 0, seed=7)
    for step in range(STEPS):
        apart = follower.follow(sound(step), step_of(engine, 0, sound(step)))
        if step == STEPS // 2:
            with torch.inference_mode():
                if name == "ring":
                    engine._generator.state.child("transformer").child("0")["ring"][0].mul_(-1)
                else:
                    engine._generator._tokens["columns"][0, 1].add_(1).remainder_(32)
    assert apart.transcript > 1e-3 or apart.has_other_column
