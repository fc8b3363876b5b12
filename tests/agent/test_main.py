"""The command line: help, choice of sub-command, exit codes, and errors in one line."""

import argparse
import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from agent import __main__ as cli
from agent.errors import AudioFileError
from agent.settings import Settings


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A sub-command of ours in the place of `talk`."""
    module = ModuleType("fake_talk")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("source")

    def run(args: argparse.Namespace, settings: Settings) -> int:
        if args.source == "unreadable.wav":
            raise AudioFileError("unreadable.wav is no sound file; give a WAV")
        if args.source == "endless.wav":
            raise KeyboardInterrupt
        return 0 if settings.sip.port == 5099 else 1

    vars(module).update(add_arguments=add_arguments, run=run)
    real = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name: module if name == "agent.talk" else real(name)
    )
    return module


def test_a_sub_command_gets_its_arguments_and_the_settings(
    talk: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["talk", "in.wav"]) == 1
    monkeypatch.setenv("OFFHOOK_SIP__PORT", "5099")
    assert cli.main(["talk", "in.wav"]) == 0


def test_an_expected_failure_is_one_line(talk: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["talk", "unreadable.wav"]) == 1
    assert capsys.readouterr().err == "offhook talk: unreadable.wav is no sound file; give a WAV\n"


def test_wrong_settings_exit_with_2(
    talk: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OFFHOOK_SIP__PROT", "5099")
    assert cli.main(["talk", "in.wav"]) == 2
    assert "did you mean OFFHOOK_SIP__PORT?" in capsys.readouterr().err


def test_an_interrupt_is_no_traceback(talk: ModuleType) -> None:
    assert cli.main(["talk", "endless.wav"]) == 130


@pytest.mark.parametrize("words", [["nonsense"], ["bench"], ["bench", "nonsense"]])
def test_unknown_words_are_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == 2
    assert "usage: offhook" in capsys.readouterr().err


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "sub-commands" in capsys.readouterr().err


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "agent", "--help"], capture_output=True, text=True, check=True
    )
    for name in cli.COMMANDS:
        assert name.split()[0] in shown.stdout
    loaded = "import sys, agent.__main__ as m; m._parsers(None); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert not {"torch", "pydantic", "aiohttp", "numpy"} & set(modules.stdout.split())


@pytest.mark.timeout(120)  # on a busy machine importing torch alone takes most of a minute
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_sub_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([*name.split(), "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: offhook {name} ")
    assert cli.COMMANDS[name].example.splitlines()[0] in shown


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_an_error_out_of_a_group_of_tasks_is_told_in_one_line(
    depth: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error: Exception = AudioFileError("nobody answers; start the line")
    for _ in range(depth):
        error = ExceptionGroup("tasks", [ValueError("a consequence"), error])

    def fails(*_: object) -> int:
        raise error

    monkeypatch.setattr("agent.talk.run", fails)
    assert cli.main(["talk", "in.wav", "out.wav"]) == 1
    assert capsys.readouterr().err == "offhook talk: nobody answers; start the line\n"


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""


@pytest.mark.timeout(120)
def test_a_line_ends_with_the_evaluation_that_started_it_and_was_told_to_end(tmp_path: Path) -> None:
    words = ["eval", "--quick", "--engine", "standin", "--calls", "2", "--folder", str(tmp_path)]
    evaluation = subprocess.Popen([sys.executable, "-m", "agent", *words], stdout=subprocess.DEVNULL)
    lines, theirs = list[int](), list[int]()
    try:
        while not any("agent.worker" in command_line(pid) for pid in theirs):
            assert evaluation.poll() is None, "it ended before its line had a worker"
            time.sleep(0.1)
            lines = [pid for pid in children(evaluation.pid) if "agent serve" in command_line(pid)]
            theirs = [pid for line in lines for pid in children(line)]
        evaluation.terminate()
        assert evaluation.wait(60) == 128 + signal.SIGTERM
        assert lines and not [pid for pid in (*lines, *theirs) if command_line(pid)]
    finally:
        evaluation.kill()
