"""The HTTP API, asked over a real socket."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from prometheus_client import CollectorRegistry, Counter

from agent.access import Access, allow_list
from agent.access_keys import KeyFile
from agent.control import MAX_BODY_BYTES, ControlServer, Served, make_app
from agent.errors import ConfigError
from agent.gateway_health import GatewayHealth, Readiness
from agent.http_errors import ApiError
from agent.live_view import LiveCall
from agent.settings import HttpSettings
from agent.store import SessionRecord

YOUNG = SessionRecord("young", "g", "inbound", "EARLY", 2_000, caller="sip:+15550123@pbx")
OLD = SessionRecord("old", "g", "inbound", "CONFIRMED", 1_000, caller="sip:+15550100@pbx", codec="PCMU")

READY = Readiness()
ADMIN = "an operator's own key, long enough"
BEARER = {"Authorization": f"Bearer {ADMIN}"}
HEALTH = GatewayHealth("gw-1", "0", 0, True, (), (), True, 2, 1, ())


@dataclass
class Calls:
    """A gateway that knows two calls."""

    state: Readiness = READY
    records: list[SessionRecord] = field(default_factory=lambda: [YOUNG, OLD])
    hung_up: list[str] = field(default_factory=list)
    told: list[tuple[str, str | float]] = field(default_factory=list)

    def readiness(self) -> Readiness:
        return self.state

    def calls(self) -> Sequence[SessionRecord]:
        return self.records

    def live(self) -> Sequence[LiveCall]:
        return []

    def ended(self) -> Sequence[tuple[SessionRecord, str | None]]:
        return []

    def health(self) -> GatewayHealth:
        return HEALTH

    def hang_up(self, call_id: str) -> bool:
        self.hung_up.append(call_id)
        return any(call.call_id == call_id for call in self.records)

    async def say(self, call_id: str, text: str) -> bool | None:
        if text == "§":
            raise ValueError("it holds nothing that this model can say")
        self.told.append((call_id, text))
        return self._is_there(call_id)

    async def silence(self, call_id: str, seconds: float) -> bool | None:
        self.told.append((call_id, seconds))
        return self._is_there(call_id)

    def _is_there(self, call_id: str) -> bool | None:
        """The young call's worker is just being replaced."""
        return None if all(call.call_id != call_id for call in self.records) else call_id != "young"


class BrokenCalls(Calls):
    """A gateway with a bug."""

    def calls(self) -> Sequence[SessionRecord]:
        raise RuntimeError("secret detail")


def served(*, show_pii: bool = False) -> Served:
    registry = CollectorRegistry()
    Counter("offhook_things", "Things.", registry=registry).inc(3)
    return Served(registry, Access(KeyFile(Path("/nowhere"), ADMIN)), show_pii=show_pii)


def app_of(calls: Calls, settings: HttpSettings | None = None, *, show_pii: bool = False) -> web.Application:
    return make_app(calls, settings or HttpSettings(), served(show_pii=show_pii))


def serve(calls: Calls, *, show_pii: bool = False) -> TestClient[Any, Any]:
    """A client that has the operator's key."""
    return TestClient(TestServer(app_of(calls, show_pii=show_pii)), headers=BEARER)


async def test_health_and_metrics() -> None:
    async with serve(Calls()) as client:
        assert await (await client.get("/healthz")).json() == {"status": "ok"}
        answer = await client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert "offhook_things_total 3.0" in await answer.text()


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (READY, 200),
        (Readiness(degraded=["redis: away since 3 s"]), 200),
        (Readiness(reasons=["worker-0: loading its model"]), 503),
    ],
)
async def test_readiness_tells_why_not(state: Readiness, status: int) -> None:
    async with serve(Calls(state)) as client:
        answer = await client.get("/readyz")
        assert answer.status == status
        assert await answer.json() == {
            "ready": status == 200,
            "reasons": list(state.reasons),
            "degraded": list(state.degraded),
        }


@pytest.mark.parametrize(("show_pii", "caller"), [(False, "sip:***00@pbx"), (True, "sip:+15550100@pbx")])
async def test_calls_are_listed_oldest_first_and_masked(show_pii: bool, caller: str) -> None:
    async with serve(Calls(), show_pii=show_pii) as client:
        listed = (await (await client.get("/v1/calls")).json())["calls"]
        assert [call["call_id"] for call in listed] == ["old", "young"]
        assert listed[0]["caller"] == caller
        assert await (await client.get("/v1/calls/old")).json() == listed[0]


async def test_hang_up_ends_the_call_asked_for() -> None:
    calls = Calls()
    async with serve(calls) as client:
        assert (await client.post("/v1/calls/old/hangup")).status == 202
        assert calls.hung_up == ["old"]


async def test_a_live_agent_is_told_what_to_say_and_to_be_silent() -> None:
    calls = Calls()
    async with serve(calls) as client:
        answer = await client.post("/v1/calls/old/say", json={"text": "We close in five minutes."})
        assert (answer.status, await answer.json()) == (202, {"status": "saying"})
        answer = await client.post("/v1/calls/old/silence", json={"seconds": 2.5})
        assert (answer.status, await answer.json()) == (202, {"status": "silent"})
    assert calls.told == [("old", "We close in five minutes."), ("old", 2.5)]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("none/say", b'{"text": "hello"}', 404, "no_such_call"),
        ("none/silence", b'{"seconds": 1}', 404, "no_such_call"),
        ("young/say", b'{"text": "hello"}', 409, "no_model"),
        ("young/silence", b'{"seconds": 0}', 409, "no_model"),
        ("old/say", b'{"text": "' + b"x" * MAX_BODY_BYTES + b'"}', 413, "request_entity_too_large"),
        ("old/say", b"", 422, "unusable_request"),
        ("old/say", b"\xff{", 422, "unusable_request"),
        ("old/say", b"[" * 9000, 422, "unusable_request"),
        ("old/say", b'["text"]', 422, "unusable_request"),
        ("old/say", b'{"text": "hello", "voice": "x"}', 422, "unusable_request"),
        ("old/say", b'{"text": " "}', 422, "unusable_request"),
        ("old/say", b'{"text": 7}', 422, "unusable_request"),
        ("old/say", b'{"text": "' + b"x" * 2001 + b'"}', 422, "unusable_request"),
        ("old/say", '{"text": "§"}'.encode(), 422, "unusable_request"),
        ("old/silence", b'{"seconds": "5"}', 422, "unusable_request"),
        ("old/silence", b'{"seconds": true}', 422, "unusable_request"),
        ("old/silence", b'{"seconds": -1}', 422, "unusable_request"),
        ("old/silence", b'{"seconds": NaN}', 422, "unusable_request"),
        ("old/silence", b'{"seconds": 601}', 422, "unusable_request"),
    ],
)
async def test_what_cannot_be_told_is_refused(path: str, body: bytes, status: int, code: str) -> None:
    calls = Calls()
    async with serve(calls) as client:
        answer = await client.post(f"/v1/calls/{path}", data=body)
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert error["message"] and error["remedy"]
    assert [call_id for call_id, _ in calls.told] == ([path.split("/")[0]] if status in (404, 409) else [])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/calls/none", 404, "no_such_call"),
        ("POST", "/v1/calls/none/hangup", 404, "no_such_call"),
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/v1/calls", 405, "method_not_allowed"),
    ],
)
async def test_errors_are_json_with_code_and_remedy(method: str, path: str, status: int, code: str) -> None:
    async with serve(Calls()) as client:
        answer = await client.request(method, path)
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (status, code)
        assert error["message"] and error["remedy"]


async def test_our_own_fault_is_a_500_that_tells_no_details() -> None:
    async with serve(BrokenCalls()) as client:
        answer = await client.get("/v1/calls")
        assert answer.status == 500
        assert "secret detail" not in await answer.text()


async def test_a_large_body_is_not_swallowed() -> None:
    async with serve(Calls()) as client:
        answer = await client.post("/v1/calls/old/hangup", data=b"x" * (MAX_BODY_BYTES + 1))
        assert (answer.status, (await answer.json())["error"]["code"]) == (413, "request_entity_too_large")


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.9", True),
        ("::ffff:192.0.2.9", True),
        ("198.51.100.1", False),
        ("fe80::1%eth0", False),
        ("", False),
    ],
)
async def test_only_listed_peers_are_answered(peer: str, allowed: bool) -> None:
    request = make_mocked_request("GET", "/healthz", {"X-Forwarded-For": "127.0.0.1"}).clone(remote=peer)
    guard = allow_list(["192.0.2.0/24"])
    if allowed:
        assert (await guard(request, _answer)).status == 204
    else:
        with pytest.raises(ApiError) as refused:
            await guard(request, _answer)
        assert refused.value.status == 403


async def _answer(_request: object) -> Any:
    return web.Response(status=204)


async def test_metrics_may_have_a_listener_of_their_own_without_a_key() -> None:
    settings = HttpSettings(port=0, metrics_port=0)
    async with ControlServer(Calls(), settings, served()) as server, ClientSession() as http:
        assert server.metrics_port not in (None, 0, server.port)
        async with http.get(f"http://127.0.0.1:{server.metrics_port}/metrics") as answer:
            assert answer.status == 200 and "offhook_things_total 3.0" in await answer.text()
        async with http.get(f"http://127.0.0.1:{server.metrics_port}/v1/calls") as answer:
            assert answer.status == 404
        async with http.get(f"http://127.0.0.1:{server.port}/metrics", headers=BEARER) as answer:
            assert answer.status == 404


async def test_a_taken_metrics_port_is_told_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*OFFHOOK_HTTP__METRICS_PORT"):
            async with ControlServer(Calls(), HttpSettings(port=0, metrics_port=port), served()):
                pass


async def test_server_listens_on_a_port_and_lets_go_of_it() -> None:
    settings = HttpSettings(port=0)
    async with ControlServer(Calls(), settings, served()) as server:
        url = f"http://127.0.0.1:{server.port}/healthz"
        async with ClientSession() as http, http.get(url) as answer:
            assert answer.status == 200
        with pytest.raises(ConfigError, match=f"port {server.port}.*OFFHOOK_HTTP__PORT"):
            async with ControlServer(Calls(), HttpSettings(port=server.port), served()):
                pass
    with socket.create_server(("127.0.0.1", server.port)):
        await asyncio.sleep(0)
