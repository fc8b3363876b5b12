"""The push to watching pages: what they know always equals what is, and slow ones cost nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import structlog
from aiohttp import WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer

from agent import console_feed as module
from agent.console_feed import MAX_PENDING, ConsoleFeed, _Page
from agent.errors import EndReason
from agent.gateway_health import GatewayHealth
from agent.http_errors import errors_as_json
from agent.live_view import LiveCall, LiveView
from agent.store import SessionRecord
from agent.transcript import Speaker, TimedWord
from telephony.endpoint import FRAME_SAMPLES, HeardFrame
from tests.agent.test_control import HEALTH
from tests.agent.worker_rig import eventually

LOUD = HeardFrame(np.full(FRAME_SAMPLES, 0.5, np.float32), np.zeros(FRAME_SAMPLES, np.float32), 4, 0.0)


def a_call(call_id: str) -> LiveCall:
    record = SessionRecord(
        call_id, "gw", "inbound", "CONFIRMED", 1000, caller="sip:+15550123@pbx", worker_id="w0"
    )
    return LiveCall(record, LiveView(), "nobody", 0.0, None)


@dataclass
class Gateway:
    """Live calls that a test moves."""

    calls: dict[str, LiveCall] = field(default_factory=dict)
    over: list[tuple[SessionRecord, str | None]] = field(default_factory=list)
    state: GatewayHealth = HEALTH
    num_asked: int = 0

    def live(self) -> list[LiveCall]:
        self.num_asked += 1
        return list(self.calls.values())

    def ended(self) -> list[tuple[SessionRecord, str | None]]:
        return self.over

    def health(self) -> GatewayHealth:
        return self.state


class Known:
    """A page's state as the messages make it."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, Any]] = {}
        self.levels: dict[str, list[int]] = {}
        self.words: dict[str, list[str]] = {}
        self.gateway: dict[str, Any] = {}
        self.ended: list[dict[str, Any]] = []

    def take(self, text: str) -> None:
        message = json.loads(text)
        if message["type"] == "snapshot":
            self.calls, self.levels, self.words = {}, {}, {}
        for row in message.get("calls", []):
            levels, words = row.pop("levels", [[], []]), row.pop("words", [])
            self.calls.setdefault(row["id"], {}).update(row)
            self.levels.setdefault(row["id"], []).extend(levels[0])
            self.words.setdefault(row["id"], []).extend(word[1] for word in words)
        for call_id in message.get("gone", []):
            del self.calls[call_id]
        self.gateway = message.get("gateway", self.gateway)
        self.ended = message.get("ended", self.ended)


def watching(feed: ConsoleFeed) -> tuple[_Page, Known]:
    page = _Page()
    feed._pages.add(page)
    return page, Known()


def drain(page: _Page, known: Known) -> int:
    count = len(page.pending)
    while page.pending:
        known.take(page.pending.popleft())
    return count


def say(call: LiveCall, text: str) -> None:
    call.view.note_word(TimedWord(Speaker.CALLER, text, 1.0, 1.2))


def test_a_page_follows_calls_words_and_levels() -> None:
    gateway = Gateway({"a": a_call("a")})
    feed = ConsoleFeed(gateway)
    page, known = watching(feed)
    feed.tick()
    drain(page, known)
    assert known.gateway["num_slots"] == 2 and known.calls["a"]["caller"] == "sip:***23@pbx"
    for number in range(3):
        gateway.calls["a"].view.note_frame(LOUD)
        say(gateway.calls["a"], f"w{number}")
        feed.tick()
    gateway.calls["b"] = a_call("b")
    gateway.calls["a"] = replace(gateway.calls["a"], holder="agent", last_gap_s=0.42)
    feed.tick()
    drain(page, known)
    assert set(known.calls) == {"a", "b"} and known.calls["a"]["gap_s"] == 0.42
    assert known.calls["a"]["holder"] == "agent" and known.levels["a"] == [-6, -6, -6]
    assert known.words["a"] == ["w0", "w1", "w2"]


def test_a_page_that_comes_late_knows_the_same() -> None:
    gateway = Gateway({"a": a_call("a")})
    feed = ConsoleFeed(gateway)
    early, early_known = watching(feed)
    feed.tick()
    for number in range(5):
        say(gateway.calls["a"], f"w{number}")
        if number == 3:
            late, late_known = watching(feed)
        feed.tick()
    drain(early, early_known)
    drain(late, late_known)
    assert late_known.words == early_known.words == {"a": [f"w{number}" for number in range(5)]}
    assert late_known.calls == early_known.calls and late_known.gateway == early_known.gateway


def test_a_snapshot_of_many_calls_holds_less_of_each() -> None:
    gateway = Gateway({f"c{number}": a_call(f"c{number}") for number in range(5 * module.FULL_CALLS)})
    for call in gateway.calls.values():
        for number in range(60):
            say(call, f"w{number}")
            call.view.note_frame(LOUD)
    feed = ConsoleFeed(gateway)
    page, known = watching(feed)
    feed.tick()
    assert drain(page, known) == 1 and len(known.calls) == len(gateway.calls)
    assert known.words["c7"] == [f"w{number}" for number in range(48, 60)]
    assert len(known.levels["c7"]) == 32


def test_only_what_changed_is_told_and_nothing_when_nothing_did() -> None:
    gateway = Gateway({"a": a_call("a"), "b": a_call("b")})
    feed = ConsoleFeed(gateway)
    page, known = watching(feed)
    feed.tick()
    drain(page, known)
    feed.tick()
    assert not page.pending
    gateway.calls["b"] = replace(gateway.calls["b"], holder="caller")
    feed.tick()
    assert json.loads(page.pending[-1])["calls"] == [{"id": "b", "holder": "caller"}]


def test_a_call_that_ends_leaves_its_record_and_recording() -> None:
    gateway = Gateway({"a": a_call("a")})
    feed = ConsoleFeed(gateway)
    page, known = watching(feed)
    feed.tick()
    ended = replace(gateway.calls.pop("a").record, ended_at_ms=5000, end_reason=EndReason.CALLER_HUNG_UP)
    gateway.over.append((ended, "20260102T030405Z-aa"))
    feed.tick()
    drain(page, known)
    assert known.calls == {}
    (told,) = known.ended
    assert (told["id"], told["outcome"], told["recording"]) == ("a", "caller_hung_up", "20260102T030405Z-aa")
    assert "15550123" not in json.dumps(told)


def test_a_slow_page_costs_a_bounded_queue_and_catches_up_by_one_snapshot() -> None:
    gateway = Gateway({"a": a_call("a")})
    feed = ConsoleFeed(gateway)
    slow, slow_known = watching(feed)
    quick, quick_known = watching(feed)
    for number in range(30):
        say(gateway.calls["a"], f"w{number}")
        feed.tick()
        drain(quick, quick_known)
        assert len(slow.pending) <= MAX_PENDING
    feed.tick()
    drain(slow, slow_known)
    say(gateway.calls["a"], "last")
    feed.tick()
    feed.tick()
    drain(slow, slow_known)
    drain(quick, quick_known)
    assert slow_known.words == quick_known.words and slow_known.words["a"][-1] == "last"
    assert slow.num_snapshots > quick.num_snapshots == 1


def test_all_pages_get_the_very_same_text() -> None:
    gateway = Gateway({"a": a_call("a")})
    feed = ConsoleFeed(gateway)
    pages = [watching(feed)[0] for _ in range(5)]
    feed.tick()
    say(gateway.calls["a"], "hello")
    feed.tick()
    assert len({id(page.pending[-1]) for page in pages}) == 1


@pytest.mark.parametrize(("show_pii", "caller"), [(False, "sip:***23@pbx"), (True, "sip:+15550123@pbx")])
def test_numbers_are_masked_unless_persons_are_shown(show_pii: bool, caller: str) -> None:
    feed = ConsoleFeed(Gateway({"a": a_call("a")}), show_pii=show_pii)
    page, known = watching(feed)
    feed.tick()
    drain(page, known)
    assert known.calls["a"]["caller"] == caller


@pytest.fixture
async def served() -> AsyncIterator[tuple[TestClient[Any, Any], ConsoleFeed, Gateway]]:
    gateway = Gateway({"a": a_call("a")})
    feed = ConsoleFeed(gateway)
    app = web.Application(middlewares=[errors_as_json])

    async def events(request: web.Request) -> web.WebSocketResponse:
        return await feed.serve(request, lambda: True)

    async def run(_app: web.Application) -> AsyncIterator[None]:
        async for _ in module.feeding(feed):
            yield

    app.router.add_get("/events", events)
    app.cleanup_ctx.append(run)
    async with TestClient(TestServer(app)) as client:
        yield client, feed, gateway


async def test_over_a_socket_the_first_message_comes_at_once_and_changes_follow(
    served: tuple[TestClient[Any, Any], ConsoleFeed, Gateway],
) -> None:
    client, feed, gateway = served
    assert gateway.num_asked == 0  # nobody watches
    async with asyncio.timeout(5), client.ws_connect("/events") as socket:
        assert json.loads(await socket.receive_str())["type"] == "snapshot"
        say(gateway.calls["a"], "hello")
        change = json.loads(await socket.receive_str())
        assert change["calls"] == [{"id": "a", "words": [["caller", "hello", 1.0, 1.2]]}]
        assert feed.num_pages == 1
    await eventually(lambda: feed.num_pages == 0)


async def test_a_page_that_speaks_is_shown_out(
    served: tuple[TestClient[Any, Any], ConsoleFeed, Gateway],
) -> None:
    client, _, _ = served
    async with asyncio.timeout(5), client.ws_connect("/events") as socket:
        await socket.send_str("hello?")
        while not (await socket.receive()).type.name.startswith("CLOS"):
            pass
        assert socket.close_code == 1008


async def test_pages_are_told_when_the_gateway_stops(
    served: tuple[TestClient[Any, Any], ConsoleFeed, Gateway],
) -> None:
    client, feed, _ = served
    async with asyncio.timeout(5), client.ws_connect("/events") as socket:
        await socket.receive_str()
        feed.close()
        while not (await socket.receive()).type.name.startswith("CLOS"):
            pass
        assert socket.close_code == 1001


async def test_a_page_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEND_TIMEOUT_S", 0.05)

    class Stuck:
        closed = False
        code = 0

        async def send_str(self, _text: str) -> None:
            await asyncio.sleep(60)

        async def close(self, *, code: int, drain: bool = True) -> None:
            self.closed, self.code = True, code

    socket: Any = Stuck()
    feed = ConsoleFeed(Gateway())
    page = _Page()
    page.offer("", "snapshot")
    await asyncio.wait_for(feed._send(socket, page, lambda: True), 2)
    assert socket.closed and socket.code == 1013


async def test_a_fault_in_one_tick_does_not_end_the_push(
    served: tuple[TestClient[Any, Any], ConsoleFeed, Gateway],
) -> None:
    client, _, gateway = served
    broken: Any = object()
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(5), client.ws_connect("/events") as socket:
            await socket.receive_str()
            gateway.calls["x"] = broken
            await eventually(lambda: any(entry["event"] == "console_feed_failed" for entry in logs))
            del gateway.calls["x"]
            say(gateway.calls["a"], "hello")
            assert "hello" in await socket.receive_str()


async def test_there_is_a_limit_of_pages(
    served: tuple[TestClient[Any, Any], ConsoleFeed, Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, feed, _ = served
    monkeypatch.setattr(module, "MAX_PAGES", 0)
    with pytest.raises(WSServerHandshakeError, match="503"):
        await client.ws_connect("/events")
    assert feed.num_pages == 0
