"""The console's push: what is going on, four times a second, to every page that watches.

    {"type": "snapshot", "at_ms", "gateway": {...}, "calls": [{"id", ..., "levels", "words"}], "ended": [...]}
    {"type": "change",   "at_ms", "gateway"?: {...}, "calls"?: [...], "ended"?: [...]}

A change holds, of each call, the fields that are new, the levels and words that came since the last change,
and of a call that has ended its last record. It is encoded once for all pages. A page that does not keep up
gets no more changes but, as soon as it takes something again, one snapshot; one that takes nothing for
SEND_TIMEOUT_S is dropped. Without a page nothing is computed.

Whoever may read calls reads what is said in them, for that is what supervising is; numbers stay masked unless
OFFHOOK_LOG__PII, and digits that a caller presses are never sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from agent.gateway_health import GatewayHealth
from agent.http_errors import ApiError
from agent.live_view import LiveCall, Look
from agent.store import SessionRecord

PERIOD_S = 0.25
MAX_PENDING = 4  # changes that wait for a slow page; beyond it a snapshot takes their place
SEND_TIMEOUT_S = 10.0
MAX_PAGES = 64
HEARTBEAT_S = 20.0
CHECK_S = 1.0  # how soon a page whose right has ended is cut off, though nothing happens
GATEWAY_EVERY = 4  # the gateway's figures change once a second
FULL_CALLS = (
    20  # of so many a snapshot holds all that is kept; of more a part, since the loop stands still for it
)

log = structlog.get_logger(__name__)


class Watched(Protocol):
    """What the feed asks of the gateway."""

    def live(self) -> Sequence[LiveCall]:
        """The live calls."""

    def ended(self) -> Sequence[tuple[SessionRecord, str | None]]:
        """The calls that ended last and their recordings, the oldest first; bounded."""

    def health(self) -> GatewayHealth:
        """How the gateway is."""


class _Page:
    """One watching page: what waits for it."""

    def __init__(self) -> None:
        self.pending: deque[str] = deque()
        self.wants_snapshot = True
        self.wake = asyncio.Event()
        self.num_snapshots = 0

    def offer(self, change: str, snapshot: str | None) -> None:
        """Take this tick's message; `snapshot` is there when some page asked for one."""
        if self.wants_snapshot:
            assert snapshot is not None
            self.pending.append(snapshot)
            self.wants_snapshot = False
            self.num_snapshots += 1
        elif len(self.pending) >= MAX_PENDING:
            self.pending.clear()
            self.wants_snapshot = True
        elif change:
            self.pending.append(change)
        self.wake.set()

    async def next(self) -> str:
        """The next message as soon as there is one, or nothing after CHECK_S."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CHECK_S):
                while not self.pending:
                    self.wake.clear()
                    await self.wake.wait()
        return self.pending.popleft() if self.pending else ""


class _CallState:
    """What the pages know of one call."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.num_frames = 0
        self.num_words = 0


class ConsoleFeed:
    """Every watching page of one gateway; `run` must run beside them."""

    def __init__(self, watched: Watched, *, show_pii: bool = False) -> None:
        self._watched, self._show_pii = watched, show_pii
        self._pages: set[_Page] = set()
        self._known: dict[str, _CallState] = {}
        self._gateway: dict[str, Any] = {}
        self._num_ticks = 0
        self._is_watched = asyncio.Event()
        self._is_closing = False

    @property
    def num_pages(self) -> int:
        """Pages that watch now."""
        return len(self._pages)

    async def run(self) -> None:
        """Tell all pages what changed, again and again, as long as there are any. Never returns."""
        while True:
            if not self._pages:
                self._known.clear()
                self._is_watched.clear()
                await self._is_watched.wait()
            try:
                self.tick()
            except Exception:  # a fault in one tick must not end the push for good
                log.exception("console_feed_failed")
            await asyncio.sleep(PERIOD_S)

    def tick(self) -> None:
        """Encode what is new once, and give it to every page."""
        self._num_ticks += 1
        calls = self._watched.live()
        change = self._change(calls)
        snapshot = self._snapshot(calls) if any(page.wants_snapshot for page in self._pages) else None
        text = _encoded({"type": "change", "at_ms": _now_ms(), **change}) if change else ""
        for page in self._pages:
            page.offer(text, snapshot)

    async def serve(self, request: web.Request, may_watch: Callable[[], bool]) -> web.WebSocketResponse:
        """One page's WebSocket, until it goes, or may watch no longer."""
        if len(self._pages) >= MAX_PAGES:
            raise ApiError(503, "too_many_pages", f"{MAX_PAGES} pages watch already.", "Close one of them.")
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, compress=False, max_msg_size=1024)
        await socket.prepare(request)
        page = _Page()
        self._pages.add(page)
        self._is_watched.set()
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(socket, page, may_watch))
                async for message in socket:
                    if message.type is not WSMsgType.PONG:  # a page has nothing to say
                        await socket.close(code=WSCloseCode.POLICY_VIOLATION)
                sending.cancel()
        finally:
            self._pages.discard(page)
        return socket

    async def _send(self, socket: web.WebSocketResponse, page: _Page, may_watch: Callable[[], bool]) -> None:
        try:
            while not socket.closed:
                text = await page.next()
                if self._is_closing or not may_watch():
                    code = WSCloseCode.GOING_AWAY if self._is_closing else WSCloseCode.POLICY_VIOLATION
                    await socket.close(code=code)
                    return
                if text:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await socket.send_str(text)
        except TimeoutError:
            log.info("console_page_dropped", cause="it takes nothing")
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, drain=False)
        except ConnectionError:
            return  # it has gone; the reader sees that, too

    def close(self) -> None:
        """Say goodbye to every page, now and later: the gateway stops."""
        self._is_closing = True
        for page in self._pages:
            page.pending.append("")
            page.wake.set()

    # ---- what is told ----

    def _change(self, calls: Sequence[LiveCall]) -> dict[str, Any]:
        """What differs from what pages know, which it becomes; empty when nothing does."""
        change: dict[str, Any] = {}
        rows = [row for row in map(self._changed, calls) if len(row) > 1]
        if rows:
            change["calls"] = rows
        live = {call.record.call_id for call in calls}
        gone = [call_id for call_id in self._known if call_id not in live]
        if gone:
            for call_id in gone:
                del self._known[call_id]
            change["gone"] = gone
            change["ended"] = self._ended()
        if not self._gateway or self._num_ticks % GATEWAY_EVERY == 0:
            gateway = asdict(self._watched.health())
            if gateway != self._gateway:
                change["gateway"] = self._gateway = gateway
        return change

    def _changed(self, call: LiveCall) -> dict[str, Any]:
        call_id = call.record.call_id
        known = self._known.setdefault(call_id, _CallState())
        facts = self._facts(call)
        look = call.view.since(known.num_frames, known.num_words)
        row = {
            "id": call_id,
            **{key: value for key, value in facts.items() if known.facts.get(key, ...) != value},
        }
        row |= _shown(look)
        known.facts, known.num_frames, known.num_words = facts, look.num_frames, look.num_words
        return row

    def _snapshot(self, calls: Sequence[LiveCall]) -> str:
        """Of calls that `_change` has just seen."""
        share = min(1.0, FULL_CALLS / max(1, len(calls)))
        rows = [
            {"id": c.record.call_id, **self._known[c.record.call_id].facts, **_shown(c.view.latest(share))}
            for c in calls
        ]
        body = {"type": "snapshot", "at_ms": _now_ms(), "gateway": self._gateway, "calls": rows}
        return _encoded({**body, "ended": self._ended()})

    def _ended(self) -> list[dict[str, Any]]:
        return [
            {
                "id": record.call_id,
                "transport": record.transport,
                "caller": record.public(show_pii=self._show_pii)["caller"],
                "started_at_ms": record.started_at_ms,
                "ended_at_ms": record.ended_at_ms,
                "outcome": record.end_reason,
                "turns": record.num_turns,
                "recording": recording_id,
            }
            for record, recording_id in self._watched.ended()
        ]

    def _facts(self, call: LiveCall) -> dict[str, Any]:
        record = call.record
        public = record.public(show_pii=self._show_pii)
        return {
            "transport": record.transport,
            "direction": record.direction,
            "caller": public["caller"],
            "state": "held" if call.is_held else "talking",
            "holder": call.holder,
            "started_at_ms": record.answered_at_ms or record.started_at_ms,
            "worker": record.worker_id,
            "codec": record.codec,
            "gap_s": call.last_gap_s,
            "turns": call.num_turns,
            "asking": record.delegated is not None,
            "recoveries": call.num_recoveries,
            "recording": call.recording_id,
        }


async def feeding(feed: ConsoleFeed) -> AsyncIterator[None]:
    """Let a feed run while the application is up: for `app.cleanup_ctx`."""
    task = asyncio.create_task(feed.run(), name="console-feed")
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _shown(look: Look) -> dict[str, Any]:
    """Levels and words as they travel: short names, because there are many."""
    row: dict[str, Any] = {}
    if look.caller_dbfs:
        row["levels"] = [look.caller_dbfs, look.agent_dbfs]
    if look.words:
        row["words"] = [
            [word.speaker.value, word.text, round(word.start_s, 2), round(word.end_s, 2)]
            for word in look.words
        ]
    return row


def _encoded(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
