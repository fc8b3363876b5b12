"""The step's compilation beside a worker: a child that may fail or be ended, and an engine that goes on."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import compiling, logs
from agent.compiling import StepCompiler
from agent.engines import EngineChoice, EngineFactory
from agent.worker import KEPT, NO, YES, _compiling


class Engine:
    """Something that can be compiled."""

    num_slots = 2


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], StepCompiler]:
    """A compiler whose child runs this program instead."""
    logs.configure("json", "info")
    monkeypatch.setattr(compiling, "why_not", lambda engine: "")

    def make(program: str) -> StepCompiler:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "__init__.py").touch()
        (tmp_path / "model" / "compiled.py").write_text(program)
        monkeypatch.setattr(compiling, "PACKAGES", tmp_path)
        return StepCompiler(Engine(), tmp_path / "none", tmp_path, lambda errand: errand())

    return make


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    entries = [record.msg for record in caplog.records if record.name == "agent.compiling"]
    return [(entry["event"], entry.get("reason", "")) for entry in entries if isinstance(entry, dict)]


def test_a_compilation_that_fails_is_told_once(
    child: Callable[[str], StepCompiler], caplog: pytest.LogCaptureFixture
) -> None:
    compiler = child("import sys; print('because', file=sys.stderr); sys.exit(5)")
    compiler.start()
    compiler._thread.join()
    compiler.close()
    assert told(caplog) == [("compile_started", ""), ("step_not_compiled", "because")]


def test_it_ends_with_the_worker(
    child: Callable[[str], StepCompiler], caplog: pytest.LogCaptureFixture
) -> None:
    compiler = child("import time; time.sleep(600)")
    compiler.start()
    while compiler._child is None:
        time.sleep(0.01)
    began_s = time.monotonic()
    compiler.close()
    assert time.monotonic() - began_s < 5
    assert compiler._child.poll() is not None
    assert told(caplog) == [("compile_started", "")]


def test_what_speaks_against_it_is_told(
    child: Callable[[str], StepCompiler],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiler = child("")
    monkeypatch.setattr(compiling, "why_not", lambda engine: "no g++")
    compiler.start()
    compiler.close()
    assert told(caplog) == [("step_not_compiled", "no g++")]


def test_the_default_is_the_gateways() -> None:
    assert _compiling({}) == YES
    assert _compiling({"OFFHOOK_WORKER__COMPILE": "no"}) == NO
    assert _compiling({"OFFHOOK_WORKER__COMPILE": "yes"}) == YES
    assert KEPT not in (YES, NO)


def test_a_stand_in_has_no_packages(tmp_path: Path) -> None:
    (tmp_path / "step-1.pt2").touch()
    factory = EngineFactory(EngineChoice("standin", Path("none"), "cpu", 1), tmp_path)
    assert not factory.has_packages(8)
