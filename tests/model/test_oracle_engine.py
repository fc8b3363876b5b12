"""Whole calls on published folders equal the reference's: its codec, its language model, from the same files.

Sound in, tokens out, greedy, with everything that a call may ask for. The folders are of reduced width.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.config import FRAME_SAMPLES
from model.control import CallProfile
from model.engine import Engine, word_starts
from model.errors import CheckpointError, PromptError
from model.prompt import ReadyVoice, prompt_frames
from model.published import load_model
from tests.model.published import (
    hibiki_folder,
    moshi_folder,
    personaplex_folder,
    reference,
    voice_file,
    write_voices,
)
from tests.model.steered import Steered, steered

pytestmark = pytest.mark.usefixtures("no_gradients")

BOTH = np.array([True, True])
STEPS = 60
Folder = Callable[[Path], Path]


def split_folder(folder: Path) -> Path:
    """Moshi's folder as the reference package saves it."""
    return moshi_folder(folder, dict)


def _sound(steps: int, seed: int) -> np.ndarray:
    """Float32 [steps, 2, 1920]."""
    draws = np.random.default_rng(seed)
    return (0.3 * draws.standard_normal((steps, 2, FRAME_SAMPLES))).astype(np.float32)


def _engine(folder: Path) -> Engine:
    """Two greedy slots, with the reference's window: nothing is pinned beyond it. The tiny models have 32
    codes, so the prompt's are made to fit."""
    model = replace(load_model(folder), sink_frames=0)
    if model.prompt is not None:
        silence, sine = (2, 7, 1, 8, 2, 8, 1, 8), (3, 1, 4, 1, 5, 9, 2, 6)
        model = replace(model, prompt=replace(model.prompt, silence_codes=silence, sine_codes=sine))
    return Engine(model, 2, greedy=True)


class Reference:
    """The reference's codec and model for one call."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.mimi, self.lm = reference(folder)
        lm, prompt = engine.config.lm, engine.model.prompt
        silence = prompt.silence_codes if prompt else engine._silence.tolist()
        self._parts = (self.lm, lm, silence, word_starts(engine.tokenizer, lm.text_card))

    def call(self) -> Any:
        """A fresh call: `Steered`."""
        return steered(*self._parts)


def _compare(engine: Engine, mimi: Any, theirs: Steered, sound: np.ndarray, slot: int = 1) -> None:
    """Step both over float32 [T, 2, 1920]: text, codes and sound of the agent are equal."""
    config = engine.config.lm
    due: list[list[int]] = []
    for at, frame in enumerate(sound):
        out = engine.step(frame, BOTH)
        codes = mimi.encode(torch.from_numpy(frame[slot])[None, None])[0, : config.caller_q, 0].tolist()
        text, spoken = theirs.step(codes)
        assert int(out.text[slot]) == text, at
        if spoken is None:
            assert not out.pcm[slot].any(), at
            continue
        want = mimi.decode(torch.tensor(spoken).view(1, -1, 1))[0, 0].clamp(-1, 1)
        np.testing.assert_allclose(out.pcm[slot], want.numpy(), atol=2e-4, err_msg=str(at))
        due.append(spoken)
    assert len({tuple(frame) for frame in due}) > 3, "an agent that says one thing proves little"


@pytest.mark.parametrize("layout", [moshi_folder, split_folder, personaplex_folder, hibiki_folder])
def test_a_call_on_each_published_layout(layout: Folder, tmp_path: Path) -> None:
    engine = _engine(layout(tmp_path / "model"))
    oracle = Reference(tmp_path / "model", engine)
    engine.start(0, seed=0)
    engine.start(1, seed=0)
    with oracle.mimi.streaming(1), oracle.call() as theirs:
        _compare(engine, oracle.mimi, theirs, _sound(STEPS, 1)[:9])
        engine.say(1, [6, 7, 8, 9])
        theirs.orders.sentence = [6, 7, 8, 9]
        _compare(engine, oracle.mimi, theirs, _sound(STEPS, 2)[:20])
        engine.silence(1, 5)
        theirs.orders.silent_steps = 5
        _compare(engine, oracle.mimi, theirs, _sound(STEPS, 3)[:9])


@pytest.mark.parametrize("voice", ["", "NATF0", "own"])
def test_a_call_with_voice_and_role(voice: str, tmp_path: Path) -> None:
    folder = personaplex_folder(tmp_path / "model", context=120)
    write_voices(folder / "voices.tgz", {"NATF0.pt": voice_file()})
    _write_own_voice(folder)
    engine = _engine(folder)
    oracle = Reference(folder, engine)
    profile = CallProfile(voice=voice, role="You work for Jo.")
    for slot in (0, 1):  # the second time as the prompt was kept
        engine.start(slot, seed=0, profile=profile)
    with oracle.mimi.streaming(1), oracle.call() as theirs:
        theirs.live_through(*_prompt_of(engine, profile))
        _compare(engine, oracle.mimi, theirs, _sound(STEPS, 1))


def test_a_model_without_the_codes_of_its_prompt_is_refused(tmp_path: Path) -> None:
    model = load_model(personaplex_folder(tmp_path / "model"))
    with pytest.raises(CheckpointError, match="has 32 codes a codebook, fewer than the prompt"):
        Engine(model, 1)


def test_a_voice_that_was_damaged_meanwhile_is_named(tmp_path: Path) -> None:
    folder = personaplex_folder(tmp_path / "model")
    engine = _engine(folder)
    (folder / "voices.tgz").write_bytes(b"junk")
    with pytest.raises(PromptError, match=r"the voice NATF0 cannot be read: .*voices.tgz is no whole"):
        engine.start(0, seed=0, profile=CallProfile(voice="NATF0"))
    engine.start(0, seed=0)


def _write_own_voice(folder: Path) -> None:
    import soundfile

    (folder / "voices").mkdir()
    sound = 0.1 * np.random.default_rng(5).standard_normal(12 * FRAME_SAMPLES)
    soundfile.write(folder / "voices" / "own.wav", sound, 24_000)


def _prompt_of(engine: Engine, profile: CallProfile) -> tuple[Any, ReadyVoice | None]:
    """The prompt's frames, and the ready voice, as the published program would step through them."""
    config, lm = engine.model.prompt, engine.config.lm
    assert config is not None
    codes, ready = torch.zeros(0, lm.agent_q, dtype=torch.int64), None
    if profile.voice:
        voice = engine.model.voices.load(profile.voice)
        if voice.codes is None:
            assert voice.embeddings is not None and voice.last_column is not None
            assert voice.pending is not None
            ready = ReadyVoice(voice.embeddings, voice.last_column, voice.pending)
            codes = torch.zeros(voice.num_frames, lm.agent_q, dtype=torch.int64)
        else:
            codes = voice.codes.T
    role = engine.tokenizer.encode(f"<system> {profile.role} <system>")
    silence, tone = torch.tensor(config.silence_codes), torch.tensor(config.sine_codes)
    return prompt_frames(codes, role, silence, tone, config.pause_frames), ready
