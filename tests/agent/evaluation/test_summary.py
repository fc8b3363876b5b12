"""Figures over calls, and the bars they are held against."""

from collections.abc import Sequence
from typing import Any

import pytest

from agent.evaluation.summary import OF_A_LINE, Share, bars, summarise, table


def turn(**changes: Any) -> dict[str, Any]:
    """A right order answered after 300 ms."""
    return {
        "intent": "order", "text": "", "manner": "reply", "start_s": 0.0, "end_s": 1.0,
        "pauses": [[0.2, 0.7]], "expected": [], "heard": "", "is_judged": True, "is_right": True,
        "gap_s": 0.3, "is_miss": False,
        "early_starts": [], "barge_in": None, **changes,
    }  # fmt: skip


def call(*turns: dict[str, Any], greeting: bool = True) -> dict[str, Any]:
    return {"is_greeting_right": greeting, "turns": list(turns)}


STOPPED = {"is_eligible": True, "why_not": "", "stop_s": 0.4, "stopped_at_s": 9.0}
KEPT_ON = {**STOPPED, "stop_s": None}
TOO_LATE = {**KEPT_ON, "is_eligible": False}


def test_shares_are_of_the_right_turns() -> None:
    summary = summarise([
        call(turn(), turn(is_right=False), turn(intent="yes", pauses=[], gap_s=2.5)),
        call(turn(intent="silence", gap_s=None, is_right=True),
             turn(intent="no", is_judged=False, is_right=False),
             turn(gap_s=None, is_miss=True, is_right=False), greeting=False),
    ])  # fmt: skip
    assert (summary.calls, summary.turns, summary.judged) == (2, 5, 4)
    assert (summary.greetings, summary.orders) == (Share(1, 2), Share(1, 3))
    assert summary.fixed == Share(1, 1)  # the turn that was cut off is not judged
    assert summary.asked_after_silence == Share(1, 1)
    assert summary.misses == Share(1, 5) and summary.dead_air == Share(1, 4)
    assert summary.order_share == Share(3, 4) and summary.pause_share == Share(3, 4)
    assert summary.gaps.num == 4 and summary.gaps.p50 == pytest.approx(0.3)


def test_failed_interruptions_are_never_replaced() -> None:
    summary = summarise([call(*(turn(barge_in=trial) for trial in (STOPPED, STOPPED, KEPT_ON, TOO_LATE)))])
    assert summary.eligible == Share(3, 4) and summary.yields == Share(2, 3)
    assert summary.stops.p50 == pytest.approx(0.4) and summary.stops.num == 2


def test_early_starts_count_once_a_turn() -> None:
    assert summarise([call(turn(early_starts=[0.3, 0.6], gap_s=None), turn())]).early == Share(1, 2)


def met(
    name: str, calls: list[dict[str, Any]], misses: int | None = 0, live: Sequence[float] = ()
) -> bool | None:
    return next(line.is_met for line in bars(summarise(calls), misses, live) if line.name == name)


def test_bars() -> None:
    good = [call(*[turn() for _ in range(3)], turn(intent="yes"), turn(barge_in=STOPPED)) for _ in range(30)]
    assert all(line.is_met is not False for line in bars(summarise(good), 0))
    assert met("greetings right", good[:10]) is False  # too few to say
    assert met("orders right", [call(turn(is_right=False), turn(is_right=True))]) is True
    assert met("orders right", [call(turn(is_right=False))]) is False
    assert met("response gap p50", [call(turn(gap_s=0.51))]) is False
    assert met("response gap p50", []) is False
    assert met("worker deadline misses", good, 1) is False
    assert met("worker deadline misses", good, None) is None
    slow = [call(turn(gap_s=0.9))] * 3
    offline = [line for line in bars(summarise(slow), 7, is_offline=True) if line.name in OF_A_LINE]
    assert [line.is_met for line in offline] == [None] * 4
    for gap_s, is_met in ((0.3, True), (0.339, True), (0.261, True), (0.35, False), (0.25, False)):
        assert met("live gap p50 less the judged", good, live=[gap_s, gap_s, 9.0]) is is_met
    assert table(bars(summarise(good), 0), "run").row_count == len(bars(summarise(good), 0))


def test_nothing_is_nothing() -> None:
    assert str(Share(0, 0)) == "none" and str(Share(1, 2)) == "1/2 (50%)"
