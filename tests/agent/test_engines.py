"""A model is found, told apart from others, and its memory known."""

from pathlib import Path

import pytest

from agent import engines
from agent.cascade.engine import Cascade
from agent.engines import (
    EngineChoice,
    EngineFactory,
    host_memory,
    model_argument,
    model_folder,
    tokenizer_file,
)
from agent.settings import BUILTIN_MODEL
from agent.standin import StandIn
from model.errors import CheckpointError


def standin() -> EngineFactory:
    return EngineFactory(EngineChoice("standin", Path("none"), "cpu", 1))


def test_the_stand_in_needs_no_model() -> None:
    factory = standin()
    engine = factory.build(3)
    assert isinstance(engine, StandIn) and engine.num_slots == 3
    assert (factory.name, factory.voices(engine), factory.takes_role(engine)) == ("standin", ("tone",), False)
    assert factory.key()["device"] == factory.key()["files"] == "none"


def test_a_cascade_is_set_up_by_the_workers_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "LLM_URL": "http://127.0.0.1:9/v1",
        "LLM_MODEL": "m",
        "STT_URL": "http://127.0.0.1:9/v1",
        "STT_MODEL": "m",
    }
    for name, value in names.items():  # a recogniser elsewhere: none is loaded here
        monkeypatch.setenv(f"OFFHOOK_CASCADE__{name}", value)
    factory = EngineFactory(EngineChoice("cascade", BUILTIN_MODEL, "cpu", 1))
    engine = factory.build(1)
    assert isinstance(engine, Cascade) and engine.num_slots == 1
    assert (factory.name, factory.voices(engine), factory.takes_role(engine)) == ("cascade", (), True)
    assert factory.key()["files"] == "none"
    engine.close()


def test_a_folder_is_found_wherever_a_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_folder(Path("mine")) == tmp_path / "mine"
    assert model_argument(Path("mine")) == str(tmp_path / "mine")
    assert model_argument(Path("somebody/a-model")) == "somebody/a-model"
    assert model_argument(Path("some-published-name")) == "some-published-name"


def test_a_published_model_has_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert model_folder(Path("builtin")) == BUILTIN_MODEL
    with pytest.raises(CheckpointError, match=r"not on this machine.*hf download"):
        model_folder(Path("kyutai/moshiko-pytorch-bf16"))
    with pytest.raises(CheckpointError, match="no folder and no model"):
        model_folder(Path("nothing-of-that-name"))


@pytest.mark.timeout(120)  # loads torch
def test_one_set_of_weights_serves_engines_of_any_size() -> None:
    factory = EngineFactory(EngineChoice("builtin", BUILTIN_MODEL, "cpu", 1))
    assert [factory.build(number).num_slots for number in (1, 3)] == [1, 3]
    assert tokenizer_file(BUILTIN_MODEL).parent == BUILTIN_MODEL


def test_a_result_is_of_one_model_on_one_machine(tmp_path: Path) -> None:
    (tmp_path / "lm.safetensors").write_bytes(bytes(100))
    key = EngineFactory(EngineChoice("builtin", tmp_path, "cpu", 2, 0.5)).key()
    assert key["device"] == "cpu" and key["num_threads"] == 2 and key["share"] == 0.5
    assert key["model"] == tmp_path.name
    (tmp_path / "lm.safetensors").write_bytes(bytes(50))  # another precision
    assert EngineFactory(EngineChoice("builtin", tmp_path, "cpu", 2, 0.5)).key() != key


def test_memory_is_bounded_by_the_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CGROUP", tmp_path)
    monkeypatch.setattr(engines, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 600 kB\n")
    assert host_memory() == (600 << 10, 1000 << 10)
    (tmp_path / "memory.max").write_text("512000\n")
    (tmp_path / "memory.current").write_text("412000\n")
    (tmp_path / "memory.stat").write_text("anon 300000\ninactive_file 50000\n")
    assert host_memory() == (150_000, 512_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert host_memory() == (600 << 10, 1000 << 10)
