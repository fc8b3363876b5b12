"""Calls that a real `offhook serve` places, and hands over, over real SIP."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.bench_gateway import GatewayProcess
from agent.standin import line_hz
from tests.loopback.conftest import AnswererProcess
from tests.signals import find_tone

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]

Scene = tuple[GatewayProcess, AnswererProcess]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway that may call one answerer, at some of its extensions."""
    with AnswererProcess(tmp_path_factory.mktemp("answerer")) as answerer:
        host = f"127.0.0.1:{answerer.udp_port}"
        trunks = tmp_path_factory.mktemp("trunks") / "trunks.yaml"
        trunk = f'peers: [127.0.0.0/8], servers: ["{host}"], user: "1000", domain: carrier.example'
        trunks.write_text(f"trunks:\n  carrier: {{{trunk}}}\n")
        of_carrier = {"enabled": True, "targets": [f"sip:busy@{host}"]}
        settings = {
            "OFFHOOK_SIP__TRUNKS_FILE": str(trunks),
            "OFFHOOK_OUTBOUND__TRUNKS": json.dumps({"carrier": of_carrier}),
            "OFFHOOK_WORKER__ENGINE": "standin",
            "OFFHOOK_WORKER__SLOTS": "2",
            "OFFHOOK_LOG__FORMAT": "json",
            "OFFHOOK_OUTBOUND__ENABLED": "true",
            "OFFHOOK_OUTBOUND__TARGETS": ",".join(
                f"sip:{name}@{host}" for name in ("echo", "busy", "desk", "slow")
            ),
            "OFFHOOK_OUTBOUND__HOST": host,
            "OFFHOOK_OUTBOUND__PREFIXES": "+4930",
            "OFFHOOK_OUTBOUND__CALLER_IDS": "+49301110",
            "OFFHOOK_OUTBOUND__CALLS_PER_MINUTE": "100",
        }
        with GatewayProcess(settings) as gateway:
            yield gateway, answerer


def until(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until it is so."""
    give_up_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


def dial(gateway: GatewayProcess, to: str, **wishes: str) -> str:
    """The id of a call that begins."""
    answer: dict[str, Any] = json.loads(gateway.post("/v1/calls", {"to": to, **wishes}))
    return str(answer["call"]["call_id"])


def shown(gateway: GatewayProcess, call_id: str) -> dict[str, Any]:
    """The live call as the API has it; empty once it is over."""
    calls: list[dict[str, Any]] = json.loads(gateway.get("/v1/calls"))["calls"]
    return next((call for call in calls if call["call_id"] == call_id), {})


def test_a_number_is_dialled_as_ours_and_hears_the_agent(scene: Scene) -> None:
    gateway, answerer = scene
    call_id = dial(gateway, "+49 30 123-456")
    assert answerer.wait("invite")["extension"] == "+4930123456"
    until(lambda: shown(gateway, call_id).get("state") == "confirmed")
    time.sleep(1.5)
    gateway.post(f"/v1/calls/{call_id}/hangup")
    ended = answerer.wait("stats")
    heard = answerer.sound(ended["call_id"])[0]
    loud = heard[np.abs(heard) > 0.01]
    assert len(loud) and find_tone(heard[6000:20_000], 24_000) == pytest.approx(line_hz(0), abs=10)
    gateway.wait_until_idle()


def test_what_is_not_allowed_is_not_dialled(scene: Scene) -> None:
    gateway, _ = scene
    for to, status in (("+19005550100", 403), ("sip:echo@127.0.0.1:9", 403), ("+4930%31", 422)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            gateway.post("/v1/calls", {"to": to})
        assert refused.value.code == status
        refused.value.close()
    assert json.loads(gateway.get("/v1/calls"))["calls"] == []


def test_busy_and_given_up_calls_leave_nothing(scene: Scene) -> None:
    gateway, answerer = scene
    host = f"127.0.0.1:{answerer.udp_port}"
    for about, shown_as in (({}, "sip:+49301110@"), ({"trunk": "carrier"}, "sip:1000@carrier.example")):
        dial(gateway, f"sip:busy@{host}", **about)
        assert shown_as in answerer.wait("invite", extension="busy")["caller"]
    until(lambda: [event["reason"] for event in gateway.events("call_not_taken")] == ["not_answered"] * 2)
    ringing = dial(gateway, f"sip:slow@{host}")
    answerer.wait("invite", extension="slow")
    gateway.post(f"/v1/calls/{ringing}/hangup")
    answerer.wait("gone")
    gateway.wait_until_idle()


def test_a_callee_is_handed_over_and_hears_the_target_when_it_was_told(scene: Scene, tmp_path: Path) -> None:
    gateway, answerer = scene
    host = f"127.0.0.1:{answerer.udp_port}"
    call_id = dial(gateway, f"sip:echo@{host}")
    until(lambda: shown(gateway, call_id).get("state") == "confirmed")
    order = {"to": f"sip:desk@{host}", "mode": "attended", "summary": "A caller asks for you."}
    gateway.post(f"/v1/calls/{call_id}/transfer", order)
    answerer.wait("invite", extension="desk")
    until(lambda: shown(gateway, call_id).get("transfer") == "completed", 30)
    until(lambda: gateway.metric("offhook_worker_slots_used") == 0)
    others = [dial(gateway, f"sip:slow@{host}") for _ in range(2)]  # two, and its own is free for one
    for other in others:
        gateway.post(f"/v1/calls/{other}/hangup")
        answerer.wait("gone")
    gateway.post(f"/v1/calls/{call_id}/hangup")
    sounds = [answerer.sound(answerer.wait("stats")["call_id"])[0] for _ in range(2)]
    assert max(np.abs(sound).max() for sound in sounds) > 0.05  # the summary, and the greeting
    gateway.wait_until_idle()
    assert shown(gateway, call_id) == {}


def test_a_transfer_to_somebody_busy_gives_the_callee_back(scene: Scene) -> None:
    gateway, answerer = scene
    host = f"127.0.0.1:{answerer.udp_port}"
    call_id = dial(gateway, f"sip:echo@{host}")
    until(lambda: shown(gateway, call_id).get("state") == "confirmed")
    gateway.post(f"/v1/calls/{call_id}/transfer", {"to": f"sip:busy@{host}", "mode": "attended"})
    until(lambda: shown(gateway, call_id).get("transfer") == "not_answered")
    assert shown(gateway, call_id)["state"] == "confirmed"
    gateway.post(f"/v1/calls/{call_id}/hangup")
    gateway.wait_until_idle()
