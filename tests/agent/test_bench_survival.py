"""Which figures fail the bench, and which only tell of the model. (The bench itself takes minutes.)"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agent.bench_deaths import DEATHS, Death
from agent.bench_survival import Killed, Outage, memory_bars, outage_bars, report, survival_bars
from agent.evaluation.summary import Bar
from agent.evaluation.survival import Survival
from agent.machine import this_machine

ALONE, ONE, TWO = DEATHS
GOOD = Survival("a latte is that right", True, "yes", "great", True, True, 2.5, 0.5, 0, [])
AWAY = Outage(True, 0, 0, [("yes", "great", True), ("where", "sorry", False)], [True, True], 0.4)


def killed(death: Death, survival: Survival = GOOD, **changes: object) -> Killed:
    return replace(Killed(death.name, 0, True, 0.4, 0, survival), **changes)  # type: ignore[arg-type]


def failed(bars: Sequence[Bar]) -> list[str]:
    return [bar.name.split(": ")[1] for bar in bars if bar.is_met is False]


def test_a_call_that_survived_meets_every_bar() -> None:
    for death in DEATHS:
        calls = [killed(death), killed(death)]
        assert failed(survival_bars(death, calls)) == []
        assert failed(memory_bars(death, calls)) == []
    assert failed(outage_bars(AWAY)) == []


@pytest.mark.parametrize(
    ("bad", "bar"),
    [
        (killed(TWO, is_kept=False), "call kept"),
        (killed(TWO, ready_after_s=3.1), "kill to primed slot"),
        (killed(TWO, ready_after_s=None), "kill to primed slot"),
        (killed(TWO, replace(GOOD, heard_after_s=3.1)), "kill to agent heard"),
        (killed(TWO, replace(GOOD, heard_after_s=None)), "kill to agent heard"),
        (killed(TWO, replace(GOOD, num_greetings=1)), "greeted again"),
        (killed(TWO, replace(GOOD, unasked=["off hook coffee"])), "greeted again"),
    ],
)
def test_one_bad_call_among_good_ones_fails_its_bar(bad: Killed, bar: str) -> None:
    assert failed(survival_bars(TWO, [killed(TWO), bad])) == [bar]


def test_one_worker_has_twenty_seconds_and_nobody_killed_has_no_bar() -> None:
    slow = killed(ONE, replace(GOOD, heard_after_s=19.0), ready_after_s=18.0)
    assert failed(survival_bars(ONE, [slow])) == []
    never = killed(ALONE, replace(GOOD, heard_after_s=None), ready_after_s=None)
    assert failed(survival_bars(ALONE, [never])) == []


def test_memory_is_judged_among_the_orders_that_were_understood() -> None:
    deaf = replace(GOOD, is_understood=False, is_remembered=None, is_right=False)
    forgot = replace(GOOD, is_remembered=False, is_right=False)
    assert failed(memory_bars(TWO, [killed(TWO), killed(TWO, deaf)])) == []
    assert failed(memory_bars(TWO, [killed(TWO), killed(TWO, forgot)])) == ["order remembered"]
    assert failed(memory_bars(TWO, [killed(TWO, deaf)])) == ["order remembered"]  # nothing was shown


@pytest.mark.parametrize(
    ("bad", "bar"),
    [
        (replace(AWAY, is_kept=False), "call kept"),
        (replace(AWAY, num_frames_dropped=1), "frames dropped"),
        (replace(AWAY, answers=[("yes", "great", True), ("where", "", False)]), "turns answered"),
        (replace(AWAY, answers=[]), "turns answered"),
        (replace(AWAY, newcomers_greeted=[True, False]), "new calls answered"),
        (replace(AWAY, record_after_s=None), "record there after"),
        (replace(AWAY, record_after_s=5.1), "record there after"),
    ],
)
def test_an_outage_may_cost_nothing(bad: Outage, bar: str) -> None:
    assert failed(outage_bars(bad)) == [bar]


def test_forgetting_is_told_but_only_what_the_model_has_no_part_in_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forgot = replace(GOOD, is_remembered=False, is_right=False)
    calls = [killed(ALONE), killed(ONE, forgot), killed(TWO)]
    path = tmp_path / "survival.json"
    assert report(calls, AWAY, this_machine(), path) == 0
    assert "not met" in capsys.readouterr().out
    assert '"num_frames_dropped": 0' in path.read_text()
    assert report([*calls, killed(TWO, is_kept=False)], AWAY, this_machine(), None) == 1
