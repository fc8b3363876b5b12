"""What `offhook serve` does around its gateway."""

import asyncio
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from agent import serve
from agent.errors import ConfigError
from agent.outbound import OutboundRules, OutboundSettings
from agent.settings import CallSettings, Settings
from agent.worker_link import linked
from model.control import CallProfile
from telephony.errors import AddressTaken
from tests.agent.worker_rig import served


def test_what_the_operator_can_mend_comes_out_of_nested_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(settings: Settings) -> int:
        taken = AddressTaken("127.0.0.1", 5060, "udp")
        raise BaseExceptionGroup("outer", [ExceptionGroup("inner", [ValueError(), taken])])

    monkeypatch.setattr(serve, "_serve", fail)
    with pytest.raises(AddressTaken):
        serve.run(Settings())
    assert serve._operators_fault(ExceptionGroup("bug", [ValueError()])) is None
    assert isinstance(serve._operators_fault(ConfigError("no")), ConfigError)


def test_sip_may_place_calls_only_where_the_rules_name_somebody() -> None:
    assert not serve._sip_settings(Settings()).outbound_enabled
    assert not serve._sip_settings(Settings(outbound=OutboundSettings(enabled=True))).outbound_enabled
    for settings in (
        Settings(outbound=OutboundSettings(targets=("sip:desk@192.0.2.7",))),
        Settings(outbound=OutboundSettings(trunks={"a": OutboundRules(host="h", prefixes=("+49",))})),
        Settings(call=CallSettings(transfer_target="sip:desk@192.0.2.7")),
    ):
        assert serve._sip_settings(settings).outbound_enabled


async def test_the_first_signal_stops_gently_and_the_next_at_once() -> None:
    reload = asyncio.Event()
    async with serve._signals(reload) as (stop, stop_now):
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(reload.wait(), 1)
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 1)
        assert not stop_now.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop_now.wait(), 1)


async def test_a_profile_that_workers_will_refuse_is_told_at_the_start(tmp_path: Path) -> None:
    async with served(tmp_path, 1) as (_, address), linked(address) as link:
        pool = cast(Any, SimpleNamespace(links=[link]))
        with structlog.testing.capture_logs() as logs:
            serve._warn_of_refusals(pool, CallProfile(voice="tone"))
            assert logs == []
            serve._warn_of_refusals(pool, CallProfile(voice="anna", role="You sell coffee."))
    assert [entry["event"] for entry in logs] == ["voice_unknown", "role_impossible"]
    assert logs[0]["voices"] == ("tone",)
