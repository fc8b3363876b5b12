"""Reloading: on a signal, on a change, and never a step back for a file with a fault."""

import asyncio
import os
from pathlib import Path

import pytest
import structlog

from agent import metrics
from agent.dial_plan import DialPlan
from agent.dial_plan_watch import DialPlanBook, load_plan
from agent.errors import ConfigError
from agent.settings import Settings
from agent.standin_tokens import StandInTokens
from telephony.errors import TelephonyError
from telephony.settings import SipSettings

ONE, OTHER = 'lines: [{called: "1"}]\n', 'lines: [{called: "2"}]\n'


class Applied:
    """What the SIP side was told."""

    def __init__(self) -> None:
        self.plans: list[DialPlan] = []
        self.event = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, plan: DialPlan) -> None:
        if self.error is not None:
            raise self.error
        self.plans.append(plan)
        self.event.set()


def book(file: Path) -> DialPlanBook:
    return DialPlanBook(Settings(sip=SipSettings(trunks_file=file)), {}, StandInTokens())


def refused() -> float:
    labels = {"result": "refused"}
    return metrics.REGISTRY.get_sample_value("offhook_dial_plan_reloads_total", labels) or 0.0


async def test_a_changed_or_replaced_file_and_a_request_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "trunks.yaml"
    file.write_text(ONE)
    made, applied = book(file), Applied()
    assert [line.called for line, _ in made.plan.lines] == ["1"]
    watch = asyncio.create_task(made.watch(applied, look_s=0.01))
    try:
        new = tmp_path / "new.yaml"
        new.write_text(OTHER)
        os.replace(new, file)
        await asyncio.wait_for(applied.event.wait(), 10)
        assert made.plan is applied.plans[-1]
        assert [line.called for line, _ in made.plan.lines] == ["2"]
        made.asked.set()
        while made.asked.is_set():  # noqa: ASYNC110  # the one that clears it tells nobody
            await asyncio.sleep(0.01)
    finally:
        watch.cancel()
    assert len(applied.plans) == 1, "an equal plan is not applied again"


async def test_a_file_with_a_fault_changes_nothing_and_says_why(tmp_path: Path) -> None:
    file = tmp_path / "trunks.yaml"
    file.write_text(ONE)
    made, applied, before = book(file), Applied(), refused()
    plan = made.plan
    file.write_text("lines: [{call: x}]\n")
    with structlog.testing.capture_logs() as logs:
        assert not await made.reload(applied)
    assert made.plan is plan and applied.plans == []
    assert refused() == before + 1
    assert "did you mean called" in logs[0]["cause"]
    file.write_text(OTHER)
    applied.error = TelephonyError("stopped")
    assert not await made.reload(applied) and made.plan is plan, "not in force if SIP did not take it"
    applied.error = ValueError("what nobody thought of")
    assert not await made.reload(applied) and made.plan is plan, "and the gateway lives"
    applied.error = None
    assert await made.reload(applied) and made.plan is not plan


def test_at_the_start_a_fault_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        book(tmp_path / "none.yaml")
    assert load_plan(Settings(), {}, StandInTokens()).lines == ()
