"""A small project in three workers, by pytest itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import alone

TESTS = """
import json, os, pathlib, pytest, time

@pytest.mark.parametrize("number", range({num}))
@pytest.mark.{mark}
def test_it(number):
    began_s = time.monotonic()
    time.sleep(0.05)
    name = pathlib.Path(__file__).stem + str(number)
    span = [began_s, time.monotonic(), os.environ["PYTEST_XDIST_WORKER"]]
    (pathlib.Path(os.environ["SEEN"]) / name).write_text(json.dumps(span))
"""


@pytest.mark.timeout(120)  # pytest starts four times
def test_who_is_alone_overlaps_with_nobody_and_the_others_do(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    shutil.copy(alone.__file__, tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    alone\n    beside\n")
    for name, num, mark in (("many", 60, "beside"), ("few", 6, "alone")):
        (tmp_path / f"test_{name}.py").write_text(TESTS.format(num=num, mark=mark))
    stranger = {name: value for name, value in os.environ.items() if name != alone.ADMITTED}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "3", "--dist", "worksteal", "--rootdir", str(tmp_path)],
        env={**stranger, "SEEN": str(seen), "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    spans = {path.name: json.loads(path.read_text()) for path in seen.iterdir()}
    assert len(spans) == 66 and len({worker for _, _, worker in spans.values()}) == 3

    def overlapping(name: str) -> set[str]:
        began_s, ended_s, _ = spans[name]
        return {other for other, (at_s, to_s, _) in spans.items() if at_s < ended_s and to_s > began_s} - {
            name
        }

    assert not any(overlapping(name) for name in spans if "few" in name)
    assert any(overlapping(name) for name in spans if "many" in name), "the others are not held up"


NESTED = """
import pytest, subprocess, sys, time

def test_that_starts_pytest():
    time.sleep(1)  # until the other one waits for us
    words = ["pytest", "-q", "-p", "no:cacheprovider", "{folder}/test_few.py"]
    subprocess.run([sys.executable, "-m", *words], check=True)
"""


@pytest.mark.timeout(120)
def test_a_pytest_that_a_test_starts_waits_for_nobody(tmp_path: Path) -> None:
    shutil.copy(alone.__file__, tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    alone\n    beside\n")
    (tmp_path / "test_nested.py").write_text(NESTED.format(folder=tmp_path))
    (tmp_path / "test_few.py").write_text(TESTS.format(num=2, mark="alone"))
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "--rootdir", str(tmp_path)],
        env={name: value for name, value in os.environ.items() if name != alone.ADMITTED}
        | {"SEEN": str(tmp_path), "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=60,
    )
