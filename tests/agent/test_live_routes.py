"""The Live API over a real socket, in front of calls that answer as told."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agent.live_calls import LiveCalls
from agent.live_errors import LiveError
from agent.live_routes import MAX_BODY_BYTES, add_live_routes

Client = TestClient[web.Request, web.Application]


class Calls:
    """One session, `live_1`, or a refusal."""

    def __init__(self) -> None:
        self.refusal: LiveError | None = None
        self.asked: list[tuple[bytes, str]] = []

    async def create(self, body: bytes, remote: str) -> tuple[str, str]:
        self.asked.append((body, remote))
        if self.refusal is not None:
            raise self.refusal
        return "live_1", "v=0 answer"

    def hang_up(self, live_id: str) -> bool:
        return live_id == "live_1"


@pytest.fixture
async def served() -> AsyncIterator[tuple[Calls, Client]]:
    calls, app = Calls(), web.Application(client_max_size=100)  # the control API's own bound is smaller
    add_live_routes(app, cast(LiveCalls, calls))
    async with TestClient(TestServer(app)) as client:
        yield calls, client


async def test_a_session_is_created_with_201(served: tuple[Calls, Client]) -> None:
    calls, client = served
    async with client.post("/v1/live/sessions", data=b"x" * 1_000) as got:
        assert got.status == 201
        assert await got.json() == {
            "session": {"id": "live_1"},
            "transport": {"type": "webrtc", "sdp": "v=0 answer"},
        }
    assert calls.asked == [(b"x" * 1_000, "127.0.0.1")]


async def test_errors_have_openais_shape(served: tuple[Calls, Client]) -> None:
    calls, client = served
    calls.refusal = LiveError("no_free_slot", "No free line.", status=503, retry_after_s=5)
    async with client.post("/v1/live/sessions", data=b"{}") as got:
        assert (got.status, got.headers["Retry-After"]) == (503, "5")
        error: dict[str, Any] = (await got.json())["error"]
    assert error == {
        "message": "No free line.",
        "type": "server_error",
        "param": None,
        "code": "no_free_slot",
    }
    async with client.post("/v1/live/sessions", data=b"x" * (MAX_BODY_BYTES + 1)) as got:
        assert got.status == 413
        assert (await got.json())["error"]["code"] == "request_too_large"


async def test_hang_up_is_200_and_empty_or_404(served: tuple[Calls, Client]) -> None:
    _, client = served
    async with client.post("/v1/live/sessions/live_1/hangup") as got:
        assert (got.status, await got.read()) == (200, b"")
    async with client.post("/v1/live/sessions/live_2/hangup") as got:
        assert got.status == 404
        assert (await got.json())["error"]["code"] == "session_id_not_found"
