"""The options of `offhook train`: defaults, and what of a machine they use."""

import argparse
import os
from pathlib import Path

import pytest

from model.engine import BUILTIN
from model.training.options import (
    CUDA_BATCH_SCALE,
    STAGES,
    Machine,
    Plan,
    PoolSize,
    add_arguments,
    machine,
    plan,
)


def _options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], Machine("cpu", 0, 1)),
        (["--workers", "3", "--batch-scale", "2"], Machine("cpu", 3, 2)),
        (["--device", "cuda"], Machine("cuda", 7, CUDA_BATCH_SCALE)),
        (["--device", "cuda:1", "--workers", "0", "--batch-scale", "1"], Machine("cuda:1", 0, 1)),
    ],
)
def test_a_machine_is_used_as_suits_its_device(
    monkeypatch: pytest.MonkeyPatch, words: list[str], wanted: Machine
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert machine(_options(*words)) == wanted


def test_beside_cuda_one_core_still_prepares_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert machine(_options("--device", "cuda")).num_workers == 1


def test_options_have_defaults_and_stages_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    options = _options()
    assert (options.out, options.only, options.shards) == (BUILTIN, None, 60)
    assert _options("--only", "lm").only == "lm"
    with pytest.raises(SystemExit):
        _options("--only", "sleep")
    told = capsys.readouterr().err
    assert all(stage in told for stage in STAGES)


def test_a_plan_is_what_the_options_ask_for() -> None:
    assert plan(_options()) == Plan()
    words = "--shards 3 --announced 7 --lm-minutes 2 --from there --pool-orders 4 --pool-numbers 5"
    wanted = Plan(3, 7, lm_minutes=2.0, start_from=Path("there"), pool_size=PoolSize(4, 5))
    assert plan(_options(*words.split())) == wanted


@pytest.mark.parametrize("words", [["--status", "--watch"], ["--pack", "a", "--unpack", "b"]])
def test_one_thing_is_done_in_place_of_training(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        _options(*words)
