"""The door, over real sockets: whoever is not known learns nothing, and no other site acts for whoever is."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, CookieJar, WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from agent.access import FAILURES_BURST, Access, is_own_host
from agent.access_keys import CONSOLE_RIGHTS, KeyFile, Right, parse_rights
from agent.access_rules import OPEN, RULES
from agent.clock import ManualClock
from agent.control import Served, make_app
from agent.settings import HttpSettings
from tests.agent.test_control import Calls


@dataclass
class Door:
    """A gateway's HTTP side with a key for each right."""

    client: TestClient[Any, Any]
    access: Access
    clock: ManualClock
    keys: dict[Right, str]

    async def ask(self, method: str, path: str, key: str = "", **more: Any) -> ClientResponse:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return await self.client.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.client.port}"

    async def log_in(self, **given: str) -> ClientResponse:
        return await self.client.post("/v1/console/login", json=given, headers={"Origin": self.origin})


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    clock = ManualClock()
    keys = KeyFile(tmp_path)
    access = Access(keys, origins=["https://calls.example"], clock=clock)
    made = {right: keys.add(right, parse_rights([right])) for right in Right}
    app = make_app(Calls(), HttpSettings(), Served(CollectorRegistry(), access))
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
        yield Door(client, access, clock, made)


def filled(path: str) -> str:
    return path.replace("{}", "none")


CLOSED = [(method, filled(path)) for (method, path), right in RULES.items() if right is not OPEN]


async def test_whoever_is_not_known_gets_one_and_the_same_answer_everywhere(door: Door) -> None:
    asked = [*CLOSED, ("GET", "/nowhere"), ("DELETE", "/v1/calls"), ("GET", "/v1/console/session")]
    answers = [await door.ask(method, path) for method, path in asked]
    assert {answer.status for answer in answers} == {401}
    assert len({await answer.read() for answer in answers}) == 1
    assert len({tuple(sorted(set(answer.headers) - {"Date"})) for answer in answers}) == 1
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"
    error = (await answers[0].json())["error"]
    assert error["code"] == "invalid_api_key" and error["remedy"] and error["type"] == "authentication_error"


@pytest.mark.parametrize("right", [right for right in Right if right is not Right.ADMIN])
async def test_a_key_opens_its_own_right_and_no_other(door: Door, right: Right) -> None:
    for (method, path), wanted in RULES.items():
        if wanted is OPEN or path.startswith("/v1/live/") or path.endswith("/events"):
            continue
        status = (await door.ask(method, filled(path), door.keys[right])).status
        assert (status == 403) == (wanted is not right), (path, status)
        assert (await door.ask(method, filled(path), door.keys[Right.ADMIN])).status != 403


async def test_strangers_hear_whether_it_is_ready_and_holders_hear_why(door: Door) -> None:
    assert await (await door.ask("GET", "/readyz")).json() == {"ready": True}
    assert set(await (await door.ask("GET", "/readyz", door.keys[Right.CALLS_READ])).json()) > {"reasons"}
    assert set(await (await door.ask("GET", "/readyz", door.keys[Right.METRICS_READ])).json()) == {"ready"}


async def test_loopback_is_no_exemption_and_a_revoked_key_is_none(door: Door) -> None:
    key = door.keys[Right.CALLS_READ]
    assert (await door.ask("GET", "/v1/calls", key)).status == 200
    door.access.keys.revoke(key.split("_")[1])
    assert (await door.ask("GET", "/v1/calls", key)).status == 401


async def test_wrong_keys_soon_wait_while_right_ones_pass(door: Door) -> None:
    statuses = [
        (await door.ask("GET", "/v1/calls", f"wrong {n}")).status for n in range(int(FAILURES_BURST) + 2)
    ]
    assert statuses == [401] * int(FAILURES_BURST) + [429] * 2
    refused = await door.ask("GET", "/v1/calls", "wrong")
    assert int(refused.headers["Retry-After"]) == 5
    assert (await door.ask("GET", "/v1/calls", door.keys[Right.CALLS_READ])).status == 200
    door.clock.advance(5)
    assert (await door.ask("GET", "/v1/calls", "wrong")).status == 401


async def test_a_peer_that_asks_too_often_waits(door: Door) -> None:
    statuses = [(await door.ask("GET", "/readyz")).status for _ in range(203)]
    assert statuses[:200] == [200] * 200 and set(statuses[200:]) == {429}
    assert (await door.ask("GET", "/healthz")).status == 200  # whoever watches it must not be misled


async def test_a_login_code_opens_the_console_once(door: Door) -> None:
    code = door.access.new_login_code()
    answer = await door.log_in(code=code)
    assert answer.status == 200
    assert set((await answer.json())["rights"]) == CONSOLE_RIGHTS
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie
    assert (await door.ask("GET", "/v1/calls")).status == 200
    assert (await door.ask("POST", "/v1/console/logout", headers={"Origin": door.origin})).status == 204
    assert (await door.ask("GET", "/v1/calls")).status == 401
    assert (await door.log_in(code=code)).status == 401


async def test_a_code_and_a_session_grow_old(door: Door) -> None:
    late = door.access.new_login_code()
    door.clock.advance(600)
    assert (await door.log_in(code=late)).status == 401
    assert (await door.log_in(code=door.access.new_login_code())).status == 200
    door.clock.advance(12 * 3600)
    assert (await door.ask("GET", "/v1/calls")).status == 401


async def test_a_session_by_key_has_that_keys_rights_and_ends_with_it(door: Door) -> None:
    key = door.keys[Right.CALLS_READ]
    assert (await (await door.log_in(key=key)).json())["rights"] == ["calls:read"]
    assert (await door.ask("GET", "/v1/calls")).status == 200
    assert (await door.ask("GET", "/v1/recordings")).status == 403
    door.access.keys.revoke(key.split("_")[1])
    assert (await door.ask("GET", "/v1/calls")).status == 401


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"key": 7}', b'{"key": ""}', b'{"key": "a", "code": "b"}', b"[" * 9000]
)
async def test_a_login_that_names_nothing_is_refused(door: Door, body: bytes) -> None:
    answer = await door.client.post("/v1/console/login", data=body, headers={"Origin": door.origin})
    assert (answer.status, (await answer.json())["error"]["code"]) == (422, "unusable_request")


async def test_a_token_begins_one_call_and_opens_nothing_else(door: Door) -> None:
    answer = await door.ask("POST", "/v1/console/token", door.keys[Right.CALLS_CREATE])
    token = (await answer.json())["token"]
    assert answer.status == 201
    for method, path in CLOSED:
        if path != "/v1/live/sessions" and path != "/v1/console/token":
            assert (await door.ask(method, path, token)).status in (401, 429), path
    door.clock.advance(59)
    known = [(await door.ask("POST", "/v1/live/sessions", token)).status for _ in range(2)]
    assert known == [404, 401]  # 404: WebRTC's route is not part of this application
    old = (await (await door.ask("POST", "/v1/console/token", door.keys[Right.ADMIN])).json())["token"]
    door.clock.advance(60)
    assert (await door.ask("POST", "/v1/live/sessions", old)).status == 401


FOREIGN = ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_another_site_may_neither_log_in_nor_use_the_cookie(door: Door, origin: str) -> None:
    code = door.access.new_login_code()
    answer = await door.client.post("/v1/console/login", json={"code": code}, headers={"Origin": origin})
    assert (answer.status, (await answer.json())["error"]["code"]) == (403, "foreign_origin")
    assert (await door.log_in(code=code)).status == 200
    for method, path in (("GET", "/v1/calls"), ("POST", "/v1/calls/old/hangup")):
        assert (await door.ask(method, path, headers={"Origin": origin})).status == 403
    with pytest.raises(WSServerHandshakeError, match="403"):
        await door.client.ws_connect("/v1/console/events", headers={"Origin": origin})
    with pytest.raises(WSServerHandshakeError, match="403"):  # not with a key of theirs, either
        bearer = {"Authorization": f"Bearer {door.keys[Right.ADMIN]}"}
        await door.client.ws_connect("/v1/console/events", headers={"Origin": origin, **bearer})


async def test_a_cookie_without_an_origin_reads_but_does_not_act(door: Door) -> None:
    await door.log_in(code=door.access.new_login_code())
    assert (await door.ask("GET", "/v1/calls")).status == 200
    assert (await door.ask("POST", "/v1/calls/old/hangup")).status == 403
    assert (await door.ask("GET", "/v1/calls", headers={"Sec-Fetch-Site": "cross-site"})).status == 403
    assert (await door.ask("POST", "/v1/calls/old/hangup", headers={"Origin": door.origin})).status == 202


async def test_a_name_that_somebody_elses_dns_gives_us_is_not_our_page(door: Door) -> None:
    host = f"rebound.example:{door.client.port}"
    code = door.access.new_login_code()
    headers = {"Origin": f"http://{host}", "Host": host}
    assert (await door.client.post("/v1/console/login", json={"code": code}, headers=headers)).status == 403


@pytest.mark.parametrize("host", ["[", "a:b:c", "a:99999999", "[::1", "\xff"])
@pytest.mark.parametrize("origin", [{}, {"Origin": "http://["}])
async def test_a_host_that_is_none_is_a_stranger_and_no_fault(
    door: Door, host: str, origin: dict[str, str]
) -> None:
    for method, path in (("GET", "/v1/calls"), ("POST", "/v1/console/login"), ("GET", "/")):
        answer = await door.client.request(method, path, headers={"Host": host, **origin})
        assert answer.status < 500, (method, path)


async def test_behind_a_proxy_with_tls_the_cookie_is_secure(door: Door) -> None:
    headers = {"Origin": "https://calls.example", "Host": "calls.example"}
    body = {"code": door.access.new_login_code()}
    answer = await door.client.post("/v1/console/login", json=body, headers=headers)
    assert answer.status == 200 and "Secure" in answer.headers["Set-Cookie"]


async def test_a_page_that_watches_is_cut_off_when_its_key_is_revoked(door: Door) -> None:
    await door.log_in(key=door.keys[Right.CALLS_READ])
    async with asyncio.timeout(5):
        async with door.client.ws_connect("/v1/console/events", headers={"Origin": door.origin}) as socket:
            assert json.loads((await socket.receive()).data)["type"] == "snapshot"
            door.access.keys.revoke(door.keys[Right.CALLS_READ].split("_")[1])
            while not (await socket.receive()).type.name.startswith("CLOS"):
                pass
            assert socket.close_code == 1008


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("localhost", True),
        ("192.0.2.7", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:8080", False),
        ("", False),
        ("[", False),
        ("a:b:c", False),
    ],
)
def test_own_hosts(host: str, is_own: bool) -> None:
    assert is_own_host(host) is is_own
