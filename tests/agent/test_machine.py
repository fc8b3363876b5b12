"""The machine is described from what the system says."""

import subprocess
from pathlib import Path

import torch

from agent.machine import Machine, _commit, cpu_name, this_machine


def test_this_machine_is_described_in_one_line() -> None:
    machine = this_machine()
    assert machine.num_cpus >= 1 and machine.torch == torch.__version__
    assert f"commit {machine.commit}" in str(machine) and "\n" not in str(machine)


def test_the_processor_is_named_or_its_kind_is(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor: 0\nmodel name\t: Acme 9000: fast\n")
    assert cpu_name(tmp_path / "cpuinfo") == "Acme 9000: fast"
    assert cpu_name(tmp_path / "none")


def test_changed_sources_are_marked_and_no_checkout_is_unknown(tmp_path: Path) -> None:
    assert _commit(tmp_path) == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = _commit(tmp_path)
    (tmp_path / "file").write_text("two")
    assert clean and _commit(tmp_path) == clean + "+"


def test_every_field_is_in_the_line() -> None:
    line = str(Machine("Acme", 3, 0.26, "3.12.1", "2.13.0", "abc1234"))
    assert line == "Acme, 3 CPUs, load 0.3, Python 3.12.1, torch 2.13.0, commit abc1234"
