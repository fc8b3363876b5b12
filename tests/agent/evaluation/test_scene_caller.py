"""A caller who plays a scene adds its noise and its echo to what the script says."""

import numpy as np
import pytest

from agent.energy_gate import Pcm
from agent.evaluation.scene_caller import SceneCaller
from agent.evaluation.scenes import Family, Scene
from agent.evaluation.script import Manner, SpokenStep, Step
from model.echo import Echo
from model.order_line import HOURS
from model.voices import AGENT_VOICE, synthesize
from telephony.endpoint import FRAME_SAMPLES

SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


def said(scene: Scene, heard: Pcm) -> Pcm:
    caller = SceneCaller(scene)
    frames = [caller(frame) for frame in heard.reshape(-1, FRAME_SAMPLES)]
    return np.concatenate([frame for frame in frames if frame is not None])


def test_noise_goes_on_for_the_whole_call_and_from_its_beginning_again() -> None:
    bed = np.linspace(-0.2, 0.2, 3000, dtype=np.float32)
    quiet = SpokenStep(Step(None, Manner.SILENCE), np.zeros(0, np.float32), 0.0, 0.0, (), 0.4)
    found = said(Scene(Family.ORDERS, 0, "ked", (quiet,), bed=bed), np.zeros(10 * FRAME_SAMPLES, np.float32))
    np.testing.assert_allclose(found, np.resize(bed, len(found)), atol=1e-7)


def test_what_is_heard_comes_back_softer() -> None:
    line = synthesize(HOURS.text, AGENT_VOICE).pcm
    line = line[: len(line) // FRAME_SAMPLES * FRAME_SAMPLES]
    wait = SpokenStep(Step(None, Manner.SILENCE), np.zeros(0, np.float32), 0.0, 0.0, (), 99.0)
    found = said(Scene(Family.ECHO, 0, "ked", (wait,), echo=Echo(60.0, -20.0, 80)), line)
    assert 20 * np.log10(np.linalg.norm(found) / np.linalg.norm(line)) == pytest.approx(-20, abs=2)


def test_a_caller_never_speaks_louder_than_the_line_takes() -> None:
    wait = SpokenStep(Step(None, Manner.SILENCE), np.zeros(0, np.float32), 0.0, 0.0, (), 0.4)
    found = said(Scene(Family.ORDERS, 0, "ked", (wait,), bed=np.full(10, 3.0, np.float32)), SILENCE)
    assert found.max() == 1.0
