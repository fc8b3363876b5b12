"""The Live API's HTTP side, as its clients expect it.

    POST /v1/live/sessions                {"session": {...}, "transport": {"type": "webrtc", "sdp": ...}}
                                          201 {"session": {"id"}, "transport": {"type": "webrtc", "sdp"}}
    POST /v1/live/sessions/{id}/hangup    200, empty

Every error of these is {"error": {"message", "type", "param", "code"}}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from agent.live_calls import LiveCalls
from agent.live_errors import LiveError

MAX_BODY_BYTES = 131_072  # an SDP offer of any size that we read, as JSON
Handler = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class _Routes:
    calls: LiveCalls

    async def create(self, request: web.Request) -> web.Response:
        live_id, sdp = await self.calls.create(await _body(request), request.remote or "")
        answer = {"session": {"id": live_id}, "transport": {"type": "webrtc", "sdp": sdp}}
        return web.json_response(answer, status=201)

    async def hang_up(self, request: web.Request) -> web.Response:
        await _body(request)
        if not self.calls.hang_up(request.match_info["live_id"]):
            raise LiveError("session_id_not_found", "No live session has this id.", "id", status=404)
        return web.Response()


def add_live_routes(app: web.Application, calls: LiveCalls) -> None:
    """Serve the Live API's WebRTC sessions."""
    routes = _Routes(calls)
    app.router.add_post("/v1/live/sessions", _with_errors(routes.create))
    app.router.add_post("/v1/live/sessions/{live_id}/hangup", _with_errors(routes.hang_up))


def _with_errors(handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except LiveError as error:
            headers = {hdrs.RETRY_AFTER: str(error.retry_after_s)} if error.retry_after_s else {}
            return web.json_response({"error": error.as_json()}, status=error.status, headers=headers)

    return handle


async def _body(request: web.Request) -> bytes:
    """The whole body, up to a bound of our own: offers are longer than the control API's bodies.

    Raises LiveError.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise LiveError("request_too_large", f"A body has at most {MAX_BODY_BYTES} bytes.", status=413)
        parts.append(part)
    return b"".join(parts)
