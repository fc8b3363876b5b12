"""The GPU kernels on a machine without one: right under Triton's interpreter, and accepted by its compiler.

Both run in processes of their own: Triton reads TRITON_INTERPRET once, when it is imported, and neither
mode may reach the rest of the tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run_tests(module: str, interpret: str) -> str:
    """What pytest printed about a module of this folder, all of which passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / module)]
    environment = os.environ | {"TRITON_INTERPRET": interpret}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"\d+ (skipped|deselected|xfailed)", done.stdout)
    return done.stdout


@pytest.mark.timeout(240)
def test_kernels_agree_with_torch_under_the_interpreter() -> None:
    run_tests("kernel_checks.py", "1")


@pytest.mark.timeout(240)
def test_kernels_compile_for_hopper() -> None:
    run_tests("kernel_compilation.py", "0")


def test_nothing_else_imports_triton() -> None:
    """A CPU build of torch has none, so the engine without a GPU must not want it."""
    code = (
        "import sys, pkgutil, importlib, model\n"
        "names = [m.name for m in pkgutil.iter_modules(model.__path__) if not m.name.startswith('kernels')]\n"
        "assert 'engine' in names\n"
        "for name in names: importlib.import_module(f'model.{name}')\n"
        "sys.exit('model.kernels' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
