"""The compiled step is the plain one: on the same state, in any order, for rows that come and go."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model import compiled
from model.checkpoint import save_module
from model.codec import Codec
from model.compiled import CompiledRunner, Unpacked, compile_program, why_not
from model.engine import FRAME_SAMPLES, Engine, StepOutput
from model.errors import CompileError
from model.package import EXIT_NO_COMPILER, Key, package_key, package_path
from model.program import EagerRunner
from tests.model import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself

STEPS = 60
SLOTS = 2


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As small as a whole model can be, because compiling takes its time for every operator."""
    folder = tmp_path_factory.mktemp("compiled")
    tokenizer = tiny.write_digits_tokenizer(folder)
    layers = replace(tiny.CODEC_TRANSFORMER, num_layers=1)
    quantizer = replace(tiny.CODEC_CONFIG.quantizer, n_q=2)
    codec_config = replace(
        tiny.CODEC_CONFIG, encoder_transformer=layers, decoder_transformer=layers, quantizer=quantizer
    )
    whole = tiny.model_config(tokenizer.card)
    lm_config = replace(
        tiny.recital_config(tokenizer),
        num_layers=1,
        depformer_num_layers=1,
        n_q=4,
        dep_q=2,
        delays=(0, 0, 1, 0, 1),
    )
    sampling = replace(
        whole.sampling,
        text_once_frames=1,
        recite_from_digits=5,
        answer_within_frames=3,
        yield_to_words=1,
        heard_over_line_bias=1.0,
        grounded_words=("seven",),
    )
    codec, lm = Codec(codec_config), tiny.lm(lm_config)
    tiny.babble_digits(lm, tokenizer)
    tiny.randomize(codec, 0)
    config = replace(whole, codec=codec_config, lm=lm_config, sampling=sampling)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    save_module(codec, folder / "codec.safetensors", torch.float32)
    save_module(lm, folder / "lm.safetensors", torch.float32)
    return folder


@pytest.fixture(scope="module")
def key(model_folder: Path) -> Key:
    return package_key(model_folder, SLOTS)


@pytest.fixture(scope="module")
def package(model_folder: Path, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled once, untuned."""
    path = package_path(tmp_path_factory.mktemp("packages"), key)
    compile_program(Engine.load(model_folder, SLOTS).program, path, key, is_tuned=False)
    return path


def live(engine: Engine, at: int) -> np.ndarray:
    """What happens to the engine before step `at`; who is active in it."""
    if at == 0:
        engine.start(0, seed=4)
    elif at == 9:
        engine.start(1, seed=5)
    elif at == 15:
        engine.say(1, [6, 7, 8])
    elif at == 25:
        engine.silence(0, 4)
    elif at == 33:
        engine.stop(0)
    elif at == 40:
        engine.start(0, seed=-6)
        engine.force_text(0, 7)
    return np.array([not 33 <= at < 40 and at % 11 != 3, at >= 9 and at % 7 != 2])


def equal(ours: StepOutput, theirs: StepOutput) -> bool:
    names = ("text", "caller_text", "tokens")
    same = all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in names)
    return same and np.allclose(ours.pcm, theirs.pcm, atol=1e-4)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("alternates", [False, True])
def test_compiled_and_plain_steps_say_the_same(
    model_folder: Path, package: Path, key: Key, alternates: bool
) -> None:
    plain, other = Engine.load(model_folder, SLOTS), Engine.load(model_folder, SLOTS)
    unpacked = Unpacked(package, key)
    other.adopt_compiled(unpacked)
    unpacked.close()
    assert other.is_compiled and not plain.is_compiled
    runners = (CompiledRunner.load(other.program, package, key), EagerRunner(other.program))
    addresses = [tensor.data_ptr() for tensor in other.program.tensors()]
    sounds = np.random.default_rng(0).normal(0, 0.3, (STEPS, SLOTS, FRAME_SAMPLES)).astype(np.float32)
    for at, sound in enumerate(sounds):
        if alternates:
            other._runner = runners[at // 5 % 2]
        active = live(plain, at)
        live(other, at)
        if at == 50:
            sound[1] = np.nan  # one row's grief is not the other's
        ours, theirs = plain.step(sound, active), other.step(sound, active)
        if at < 50:
            assert equal(ours, theirs), at
        assert np.array_equal(ours.tokens[0], theirs.tokens[0]), at
    assert [tensor.data_ptr() for tensor in other.program.tensors()] == addresses


@pytest.mark.timeout(600)
def test_what_does_not_fit_is_refused(package: Path, key: Key, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="another model's"):
        Unpacked(package, {**key, "cpu": "another"})
    damaged = tmp_path / package.name
    content = bytearray(package.read_bytes())
    with zipfile.ZipFile(package) as whole:
        (library,) = (each for each in whole.infolist() if each.filename.endswith(".so"))
    content[library.header_offset + library.file_size // 2] ^= 0xFF
    damaged.write_bytes(content)
    with pytest.raises(CompileError, match="damaged"):
        Unpacked(damaged, key)
    damaged.write_bytes(b"nothing")
    with pytest.raises(CompileError, match="damaged"):
        Unpacked(damaged, key)
    with pytest.raises(CompileError, match="damaged"):
        Unpacked(tmp_path / "missing", key)


def test_a_large_model_is_left_alone(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Engine.load(model_folder, 1).program
    assert why_not(program) == ""
    monkeypatch.setattr(compiled, "MAX_WEIGHT_BYTES", 1)
    assert "MiB of weights" in why_not(program)


def test_without_a_compiler_it_says_so(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiled, "_yield_to_all", lambda: None)
    assert shutil.which("g++") is None
    line = f"--model {model_folder} --slots 1 --cache {tmp_path}"
    assert compiled.main(line.split()) == EXIT_NO_COMPILER
    assert "no C++ compiler" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["compiling.lock"], "nothing is left half made"
    assert torch.get_num_threads() == 1
