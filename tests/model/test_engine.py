"""The engine over a random model folder: slots, their order, their history, and what is never drawn."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.checkpoint import save_module
from model.control import CallProfile
from model.controls import NO_TOKEN
from model.engine import FRAME_SAMPLES, Engine, StepOutput
from model.errors import CheckpointError, PromptError, SlotError
from model.lm import Lm
from model.random_model import plain_tokenizer
from model.tokenizer import TextTokenizer
from tests.model import tiny

Frames = NDArray[np.float32]
BOTH = np.array([True, True])
FIRST, SECOND = np.array([True, False]), np.array([False, True])


@pytest.fixture(scope="module")
def parts(model_folder: Path) -> Engine:
    """One loaded engine whose weights the others share."""
    return Engine.load(model_folder, 2)


@pytest.fixture
def engine(parts: Engine) -> Engine:
    return _engine(parts)


def _engine(parts: Engine, *, greedy: bool = False) -> Engine:
    return Engine(parts.model, 2, greedy=greedy)


def _frames(steps: int, seed: int = 0) -> Frames:
    """Float32 [steps, 2, 1920]."""
    draws = np.random.default_rng(seed)
    return (0.3 * draws.standard_normal((steps, 2, FRAME_SAMPLES))).astype(np.float32)


def _run(engine: Engine, frames: Frames, active: NDArray[np.bool_] = BOTH) -> list[StepOutput]:
    return [engine.step(frame, active) for frame in frames]


def test_it_has_a_row_for_each_slot_and_a_token_for_each_stream(engine: Engine) -> None:
    assert engine.num_slots == 2
    assert engine.num_streams == 17


def test_shapes_and_idle_rows(engine: Engine, tokenizer: TextTokenizer) -> None:
    engine.start(0, seed=1)
    first, second = _run(engine, _frames(2), FIRST)
    assert first.pcm.shape == (2, FRAME_SAMPLES)
    assert first.pcm.dtype == np.float32
    kinds = [str(array.dtype) for array in (first.text, first.caller_text, first.tokens)]
    assert kinds == ["int32", "int32", "int16"]
    assert first.tokens.shape == (2, 17)
    assert not first.pcm.any(), "no frame is whole after one step"
    assert second.pcm[0].any()
    assert np.abs(second.pcm).max() <= 1
    assert not second.pcm[1].any()
    assert second.text[1] == second.caller_text[1] == NO_TOKEN
    assert 0 <= second.text[0] < tokenizer.card
    assert 0 <= second.caller_text[0] < tokenizer.card
    assert second.tokens[0, 0] == first.text[0]


def test_slots_are_used_in_turn(engine: Engine) -> None:
    with pytest.raises(SlotError, match="slot 2 does not exist; this engine has 2"):
        engine.start(2, seed=0)
    with pytest.raises(SlotError, match=r"slots \[1\] are stepped while free"):
        engine.start(0, seed=0)
        engine.step(_frames(1)[0], BOTH)
    with pytest.raises(SlotError, match="slot 0 is in use"):
        engine.start(0, seed=0)
    with pytest.raises(SlotError, match="slot 1 is free; start it before telling"):
        engine.force_text(1, 5)
    engine.stop(0)
    engine.stop(0)
    with pytest.raises(SlotError, match=r"slots \[0\] are stepped while free"):
        engine.step(_frames(1)[0], FIRST)
    engine.start(0, seed=0)
    with pytest.raises(SlotError, match="at least one slot"):
        Engine(engine.model, 0)


def test_a_slot_starts_every_call_afresh_by_its_seed(engine: Engine) -> None:
    frames = _frames(5)
    engine.start(0, seed=4)
    first = _run(engine, frames, FIRST)
    engine.stop(0)
    engine.start(0, seed=4)
    again = _run(engine, frames, FIRST)
    engine.stop(0)
    engine.start(0, seed=5)
    other = _run(engine, frames, FIRST)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.pcm[0], two.pcm[0])
        np.testing.assert_array_equal(one.tokens[0], two.tokens[0])
    assert any((one.tokens[0] != three.tokens[0]).any() for one, three in zip(first, other, strict=True))


def test_a_call_does_not_notice_its_neighbour(parts: Engine) -> None:
    frames, others = _frames(8), _frames(8)
    others[:, 1] = _frames(8, seed=3)[:, 1]
    alone, beside = _engine(parts), _engine(parts)
    for engine in (alone, beside):
        engine.start(0, seed=4)
    beside.start(1, seed=9)
    for one, two in zip(_run(alone, frames, FIRST), _run(beside, others, BOTH), strict=True):
        np.testing.assert_array_equal(one.pcm[0], two.pcm[0])
        np.testing.assert_array_equal(one.tokens[0], two.tokens[0])
        assert one.caller_text[0] == two.caller_text[0]


def test_a_held_call_goes_on_where_it_stood(parts: Engine) -> None:
    frames = _frames(8)
    whole, held = _engine(parts), _engine(parts)
    for engine in (whole, held):
        engine.start(0, seed=4)
        engine.start(1, seed=5)
    wanted = _run(whole, frames)
    got = _run(held, frames[:4])
    broken = frames[4].copy()
    broken[1] = np.nan
    held.step(broken, FIRST)
    held.step(broken, FIRST)
    got += _run(held, frames[4:], SECOND)
    for one, two in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(one.pcm[1], two.pcm[1])
        np.testing.assert_array_equal(one.tokens[1], two.tokens[1])


def test_forced_text_is_said_once(engine: Engine, tokenizer: TextTokenizer) -> None:
    engine.start(0, seed=0)
    engine.force_text(0, tokenizer.nobody)
    outputs = _run(engine, _frames(4), FIRST)
    assert outputs[0].text[0] == tokenizer.nobody
    assert outputs[1].tokens[0, 0] == tokenizer.nobody
    assert tokenizer.nobody not in [output.text[0] for output in outputs[1:]]
    with pytest.raises(PromptError, match=f"text token {tokenizer.card} is outside"):
        engine.force_text(0, tokenizer.card)


def test_forced_text_waits_for_the_slots_next_step(engine: Engine, tokenizer: TextTokenizer) -> None:
    engine.start(0, seed=0)
    engine.start(1, seed=0)
    engine.force_text(0, tokenizer.transfer)
    engine.step(_frames(1)[0], SECOND)
    assert engine.step(_frames(1)[0], BOTH).text[0] == tokenizer.transfer


def test_forced_text_does_not_outlive_its_call(engine: Engine, tokenizer: TextTokenizer) -> None:
    engine.start(0, seed=0)
    engine.force_text(0, tokenizer.nobody)
    engine.stop(0)
    engine.start(0, seed=0)
    assert engine.step(_frames(1)[0], FIRST).text[0] != tokenizer.nobody


def test_what_only_the_runtime_says_is_never_drawn(parts: Engine, tokenizer: TextTokenizer) -> None:
    """Even from a model that wants to say nothing else."""
    lm = Lm(parts.config.lm)
    lm.load_state_dict(parts.model.lm.state_dict())
    lm.text_linear.weight.data[tokenizer.nobody] = 50 * lm.text_linear.weight.data.sum(0)
    for greedy in (False, True):
        engine = Engine(replace(parts.model, lm=lm), 2, greedy=greedy)
        engine.start(0, seed=0)
        texts = [output.text[0] for output in _run(engine, _frames(6), FIRST)]
        assert tokenizer.nobody not in texts


@pytest.mark.parametrize("fed_back", [0, 1])
def test_history_is_remembered_without_being_spoken(parts: Engine, fed_back: int) -> None:
    config = replace(parts.config, lm=replace(parts.config.lm, extra_heads_fed_back=fed_back))
    parts = Engine(replace(parts.model, config=config, lm=tiny.lm(config.lm)), 2)
    frames = _frames(10)
    lived, reborn = _engine(parts, greedy=True), _engine(parts, greedy=True)
    lived.start(0, seed=1)
    history = np.stack([output.tokens[0] for output in _run(lived, frames, FIRST)])
    reborn.start(1, seed=1, history=history, caller_pcm=frames[:, 0].reshape(-1))
    for mine, theirs in zip(reborn._generator.state.rows(1), lived._generator.state.rows(0), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-4)
    for mine, theirs in zip(reborn._program.hearing.rows(1), lived._program.hearing.rows(0), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-4)
    output = reborn.step(_frames(1, seed=7)[0], SECOND)
    assert output.pcm[1].any(), "it speaks at once, without a second start-up"
    np.testing.assert_array_equal(output.tokens[1, 1:9], history[-1, 1:9])


@pytest.mark.parametrize("length", [1, 7, 8, 20])  # the encoder looks back 7
def test_the_callers_last_seconds_warm_the_hearing(parts: Engine, length: int) -> None:
    frames = _frames(length)
    lived, reborn = _engine(parts), _engine(parts)
    lived.start(0, seed=1)
    _run(lived, frames, FIRST)
    reborn.start(0, seed=1, caller_pcm=frames[:, 0].reshape(-1))
    for mine, theirs in zip(reborn._program.hearing.rows(0), lived._program.hearing.rows(0), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_call_that_had_hardly_begun_goes_on(engine: Engine, length: int) -> None:
    engine.start(0, seed=1)
    history = np.stack([output.tokens[0] for output in _run(engine, _frames(length), FIRST)])
    engine.start(1, seed=1, history=history)
    for output in _run(engine, _frames(4), SECOND):
        assert np.isfinite(output.pcm).all()


@pytest.mark.parametrize("token", [-1, tiny.LM_CONFIG.card])
def test_a_history_that_ends_in_tokens_that_nobody_speaks_is_gone_on_from(engine: Engine, token: int) -> None:
    engine.start(0, seed=1, history=np.full((5, 17), token, np.int16))
    for output in _run(engine, _frames(4), FIRST):
        assert np.isfinite(output.pcm).all()
        assert output.tokens[0].min() >= 0


def test_a_history_keeps_the_tokens_of_a_large_vocabulary(parts: Engine) -> None:
    card = 48_000
    config = replace(parts.config, lm=replace(parts.config.lm, text_card=card, extra_heads_num_heads=0))
    model = replace(parts.model, config=config, lm=tiny.lm(config.lm), tokenizer=plain_tokenizer(card))
    lived, reborn = Engine(model, 2, greedy=True), Engine(model, 2, greedy=True)
    lived.start(0, seed=1)
    columns = []
    for frame, token in zip(_frames(4), (32_767, 32_768, 47_999, 5), strict=True):
        lived.force_text(0, token)
        columns.append(lived.step(frame, FIRST).tokens[0])
    reborn.start(0, seed=1, history=np.stack(columns))
    for mine, theirs in zip(reborn._generator.state.rows(0), lived._generator.state.rows(0), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-4)


def test_history_may_be_empty_and_sound_short_or_read_only(engine: Engine) -> None:
    sound = np.frombuffer(np.zeros(2 * FRAME_SAMPLES, np.float32).tobytes(), np.float32)
    engine.start(0, seed=0, history=np.zeros((0, 17), np.int16), caller_pcm=sound[:100])
    engine.start(1, seed=0, caller_pcm=sound)
    assert engine.step(_frames(1)[0], BOTH).text.min() >= 0


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (np.zeros((4, 9), np.int16), r"shape \[4, 9\]; this model's columns hold 17"),
        (np.zeros(17, np.int16), r"shape \[17\]"),
        (np.full((4, 17), 1000, np.int16), "another model's"),
        (np.full((4, 17), -2, np.int16), "another model's"),
    ],
)
def test_a_foreign_history_is_refused_and_the_slot_stays_free(
    engine: Engine, history: NDArray[np.int16], message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        engine.start(0, seed=0, history=history)
    engine.start(0, seed=0)


def test_a_model_without_a_transcript_head_writes_padding(parts: Engine) -> None:
    config = replace(parts.config, lm=replace(parts.config.lm, extra_heads_num_heads=0, extra_heads_dim=0))
    engine = Engine(replace(parts.model, config=config, lm=tiny.lm(config.lm)), 2)
    engine.start(0, seed=0)
    assert engine.step(_frames(1)[0], FIRST).caller_text.tolist() == [parts.tokenizer.pad, NO_TOKEN]


@pytest.mark.parametrize("name", ["config.json", "codec.safetensors", "lm.safetensors", "tokenizer.model"])
def test_a_missing_file_is_named(model_folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} does not exist"):
        Engine.load(tmp_path / "model", 1)


def test_a_foreign_tokenizer_is_refused(model_folder: Path, tmp_path: Path, parts: Engine) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    config = tiny.model_config(parts.tokenizer.card + 1)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    save_module(tiny.lm(config.lm), folder / "lm.safetensors", torch.float32)
    with pytest.raises(CheckpointError, match="they belong to different models"):
        Engine.load(folder, 1)


def test_weights_of_another_shape_are_refused(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    shutil.copy(folder / "codec.safetensors", folder / "lm.safetensors")
    with pytest.raises(CheckpointError, match=r"lm\.safetensors does not fit its configuration: missing"):
        Engine.load(folder, 1)


def test_a_piece_that_was_just_said_is_barred_for_some_frames(engine: Engine) -> None:
    sampling = replace(engine.config.sampling, text_once_frames=2)
    config = replace(engine.config, sampling=sampling)
    once = Engine(replace(engine.model, config=config), engine.num_slots, greedy=True)
    once.start(0, seed=0)
    active = np.arange(engine.num_slots) == 0
    once.force_text(0, 20)
    quiet = np.zeros((engine.num_slots, FRAME_SAMPLES), np.float32)
    said = [int(once.step(quiet, active).text[0]) for _ in range(12)]
    assert said[0] == 20
    padding = {engine.tokenizer.pad, engine.tokenizer.epad}
    for at, token in enumerate(said):
        assert token in padding or token not in said[max(0, at - 2) : at]


def test_a_slot_that_comes_to_grief_gives_nan_and_leaves_its_neighbour_alone(parts: Engine) -> None:
    frames = _frames(8)
    whole, hurt = _engine(parts), _engine(parts)
    for engine in (whole, hurt):
        engine.start(0, seed=4)
        engine.start(1, seed=5)
    wanted, got = _run(whole, frames[:5]), _run(hurt, frames[:4])
    ring = hurt._generator.state.child("transformer").child("0")["ring"]
    ring[0] = torch.nan
    got += _run(hurt, frames[4:5])
    assert np.isnan(got[4].pcm[0]).all()
    for one, two in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(one.pcm[1], two.pcm[1])
        np.testing.assert_array_equal(one.tokens[1], two.tokens[1])
    hurt.stop(0)
    hurt.start(0, seed=4)
    whole.stop(0)
    whole.start(0, seed=4)
    for one, two in zip(_run(whole, frames[5:]), _run(hurt, frames[5:]), strict=True):
        np.testing.assert_array_equal(one.pcm, two.pcm, "the next call in that slot has no trace of it")


def test_a_sentence_is_said_in_order_and_its_end_frees_the_agent(
    engine: Engine, tokenizer: TextTokenizer
) -> None:
    sentence = tokenizer.encode("two cups of tea please")
    engine.start(0, seed=0)
    _run(engine, _frames(3), FIRST)
    engine.say(0, sentence)
    texts = [int(output.text[0]) for output in _run(engine, _frames(150, seed=1), FIRST)]
    spoken = [token for token in texts if token not in (tokenizer.pad, tokenizer.epad)]
    assert tokenizer.announce >= 0 and spoken[0] == tokenizer.announce, "the model is told that it is told"
    assert spoken[1 : 1 + len(sentence)] == sentence
    assert tokenizer.announce not in spoken[1:]
    assert set(spoken[1 + len(sentence) :]) - set(sentence), "it may say anything again"


def test_a_silenced_agent_is_as_quiet_as_its_codec_can_be(parts: Engine) -> None:
    engine = _engine(parts, greedy=True)
    engine.start(0, seed=0)
    engine.start(1, seed=0)
    _run(engine, _frames(4))
    engine.silence(0, 6)
    outputs = _run(engine, _frames(8, seed=2))
    assert [int(output.text[0]) for output in outputs[:6]] == [engine.tokenizer.pad] * 6
    silent = outputs[3].tokens[0, 1:9]
    assert all((output.tokens[0, 1:9] == silent).all() for output in outputs[2:6])
    assert any((output.tokens[1, 1:9] != silent).any() for output in outputs[2:6])
    engine.silence(0, 5)
    engine.silence(0, 0)
    engine.step(_frames(1)[0], BOTH)
    with pytest.raises(PromptError, match="-1 steps is none"):
        engine.silence(0, -1)


def test_each_call_has_its_own_sampling(parts: Engine) -> None:
    cold = CallProfile(text_temperature=0, audio_temperature=0)
    greedy, engine = _engine(parts, greedy=True), _engine(parts)
    greedy.start(0, seed=0)
    engine.start(0, seed=7, profile=cold)
    engine.start(1, seed=7, profile=CallProfile(text_temperature=2.0, text_top_k=0, audio_top_k=200))
    frames = _frames(8)
    for one, two in zip(_run(greedy, frames, FIRST), _run(engine, frames), strict=True):
        np.testing.assert_array_equal(one.tokens[0], two.tokens[0])
        assert one.text[0] == two.text[0]


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (CallProfile(text_temperature=-0.1), "text_temperature is -0.1"),
        (CallProfile(audio_temperature=9.0), "audio_temperature is 9.0"),
        (CallProfile(text_top_k=-1), "a top-k of -1"),
        (CallProfile(banned=(99_999,)), "text token 99999 is outside"),
        (CallProfile(text_bias=((5, float("nan")),)), "not finite"),
        (CallProfile(role="You are a pirate."), "takes no role"),
        (CallProfile(voice="NATF2"), "has no voice NATF2"),
    ],
)
def test_a_profile_that_the_model_cannot_follow_is_refused_and_the_slot_stays_free(
    engine: Engine, profile: CallProfile, message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        engine.start(0, seed=0, profile=profile)
    engine.start(0, seed=0)


def test_what_a_free_slot_is_told_is_refused(engine: Engine) -> None:
    tells: list[Callable[[], None]] = [lambda: engine.say(0, [5]), lambda: engine.silence(0, 1)]
    for tell in tells:
        with pytest.raises(SlotError, match="slot 0 is free; start it before telling it anything"):
            tell()
    engine.start(0, seed=0)
    with pytest.raises(PromptError, match="too long; 2048 fit"):
        engine.say(0, [5] * 2049)


def test_aged_slots_are_in_use_and_the_next_call_has_no_trace_of_it(parts: Engine) -> None:
    aged, fresh = _engine(parts), _engine(parts)
    aged.age(500)
    _run(aged, _frames(3), BOTH)
    for engine in (aged, fresh):
        engine.stop(0)
        engine.start(0, seed=1)
    for one, two in zip(_run(aged, _frames(6), FIRST), _run(fresh, _frames(6), FIRST), strict=True):
        np.testing.assert_array_equal(one.pcm[0], two.pcm[0])
