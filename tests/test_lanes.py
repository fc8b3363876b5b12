"""A small project, run in two lanes by pytest itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import lanes

TESTS = """
import json, os, pathlib, pytest, time

@pytest.mark.parametrize("number", range(4))
def test_it(request, number):
    seen = [str(pathlib.Path(__file__).name), os.environ["PYTEST_XDIST_WORKER"], time.time()]
    (pathlib.Path(os.environ["SEEN"]) / f"{seen[0]}{number}").write_text(json.dumps(seen))
"""


@pytest.mark.parametrize(
    ("node_id", "lane"),
    [
        ("tests/console/test_pages.py::test_a[x::y]", "tests/console/"),
        ("tests/console/test_logic.py::test_b", "tests/console/"),
        ("tests/agent/test_wire.py::test_c", "tests/agent/test_wire.py"),
    ],
)
def test_a_lane_is_a_file_or_the_console(node_id: str, lane: str) -> None:
    assert lanes.lane_of(node_id) == lane


@pytest.mark.timeout(120)  # pytest starts three times
def test_two_workers_share_no_file_and_one_has_the_whole_console(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    shutil.copy(lanes.__file__, tmp_path / "conftest.py")
    for name in [
        *(f"console/test_{one}" for one in "abc"),
        *(f"test_{one}" for one in "defg"),
        "agent/test_h",
        "model/test_compiled",
    ]:
        path = tmp_path / "tests" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TESTS)
    seen.mkdir()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--rootdir", str(tmp_path), str(tmp_path)],
        env={**os.environ, "SEEN": str(seen), "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    workers: dict[str, set[str]] = {}
    first: dict[str, tuple[float, str]] = {}  # of each worker: when, which
    for path in seen.iterdir():
        name, worker, at_s = json.loads(path.read_text())
        workers.setdefault(name, set()).add(worker)
        first[worker] = min(first.get(worker, (at_s, name)), (at_s, name))
    assert len(list(seen.iterdir())) == 36
    (compiling,) = workers["test_compiled.py"]
    assert first[compiling][1] == "test_compiled.py", "what takes longest begins first"
    assert all(len(found) == 1 for found in workers.values()), workers
    assert workers["test_a.py"] == workers["test_b.py"] == workers["test_c.py"]
    assert len(set.union(*workers.values())) == 2
