"""The HTTP side: health, readiness, metrics, the live calls, the console. Nothing here that a call waits for.

    GET  /healthz                  200 while the event loop turns
    GET  /readyz                   200 if a call can be taken now, else 503; with the reasons for `calls:read`
    GET  /metrics                  Prometheus text; here, or alone at OFFHOOK_HTTP__METRICS_PORT
    GET  /v1/calls                 {"calls": [...]}, oldest first; callers masked unless OFFHOOK_LOG__PII
    POST /v1/calls                 call somebody: agent/outbound_routes.py
    POST /v1/calls/{id}/transfer   hand its caller over: likewise
    GET  /v1/calls/{id}            one of them
    POST /v1/calls/{id}/hangup     202: the call is ending
    POST /v1/calls/{id}/say        {"text": "..."}; 202: the agent says it next, in its own rhythm;
                                   it answers what a call shows as `delegated`
    POST /v1/calls/{id}/silence    {"seconds": 5}; 202: the agent is silent for so long, 0: no longer

    GET  /v1/console/events        WebSocket: everything that goes on, pushed (agent/console_feed.py)
    /, /console/...                the console (agent/console_page.py)
    /v1/console/..., /v1/recordings...    agent/access_routes.py, agent/recording_routes.py

Every error is JSON (agent/http_errors.py). Only this machine and the peers on the allow-list are served, and
only with a key that has the right: agent/access_rules.py is the table.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from agent.access import IDENTITY, Access, allow_list
from agent.access_keys import Right
from agent.access_routes import ConsoleFacts, add_access_routes
from agent.console_feed import ConsoleFeed, Watched, feeding
from agent.console_page import add_console_page
from agent.errors import ConfigError
from agent.gateway_health import Readiness
from agent.http_errors import ApiError, errors_as_json
from agent.live_calls import LiveCalls
from agent.live_routes import add_live_routes
from agent.outbound_routes import Dial, Transfer, add_outbound_routes
from agent.recording_index import RecordingIndex
from agent.recording_routes import add_recording_routes
from agent.settings import HttpSettings
from agent.store import SessionRecord

MAX_BODY_BYTES = 16_384  # a text of MAX_SAY_CHARS, however it is escaped
MAX_SAY_CHARS = 2000
MAX_SILENCE_S = 600.0
SHUTDOWN_TIMEOUT_S = 2.0

log = structlog.get_logger(__name__)


class CallDirectory(Watched, Protocol):
    """What the gateway must know of itself for this API."""

    def readiness(self) -> Readiness:
        """Whether a call could be taken now."""

    def calls(self) -> Sequence[SessionRecord]:
        """The live calls, in any order."""

    def hang_up(self, call_id: str) -> bool:
        """Begin to end a live call; False if there is none of that id."""

    async def say(self, call_id: str, text: str) -> bool | None:
        """Let a live call's agent say this; None if there is no such call, False if no model answers there.

        Raises ValueError for a text that the model cannot say.
        """

    async def silence(self, call_id: str, seconds: float) -> bool | None:
        """Keep a live call's agent silent for so long; None and False as for `say`."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the HTTP side serves, beside the live calls."""

    registry: CollectorRegistry
    access: Access
    recordings: RecordingIndex | None = None
    salt: bytes = b""  # of the callers' hashes
    show_pii: bool = False
    live: LiveCalls | None = None  # WebRTC calls, where they are served
    dial: Dial | None = None  # how calls are placed, where they are
    transfer: Transfer | None = None  # and handed over


@dataclass(frozen=True, slots=True)
class _Api:
    directory: CallDirectory
    registry: CollectorRegistry
    show_pii: bool = field(default=False, kw_only=True)

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        state, identity = self.directory.readiness(), request.get(IDENTITY)
        body: dict[str, object] = {"ready": not state.reasons}
        if identity is not None and identity.allows(Right.CALLS_READ):
            body |= {"reasons": list(state.reasons), "degraded": list(state.degraded)}
        return web.json_response(body, status=503 if state.reasons else 200)

    async def metrics(self, _request: web.Request) -> web.Response:
        return _exposition(self.registry)

    async def list_calls(self, _request: web.Request) -> web.Response:
        oldest_first = sorted(self.directory.calls(), key=lambda call: call.started_at_ms)
        return web.json_response({"calls": [call.public(show_pii=self.show_pii) for call in oldest_first]})

    async def show_call(self, request: web.Request) -> web.Response:
        call_id = request.match_info["call_id"]
        for call in self.directory.calls():
            if call.call_id == call_id:
                return web.json_response(call.public(show_pii=self.show_pii))
        raise _no_such_call()

    async def hang_up(self, request: web.Request) -> web.Response:
        await request.read()  # refuses a body beyond the bound
        if not self.directory.hang_up(request.match_info["call_id"]):
            raise _no_such_call()
        return web.json_response({"status": "ending"}, status=202)

    async def say(self, request: web.Request) -> web.Response:
        text = await _asked(request, "text")
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_SAY_CHARS:
            raise _unusable(f"`text` must be a text of 1 to {MAX_SAY_CHARS} characters.")
        try:
            is_sent = await self.directory.say(request.match_info["call_id"], text)
        except ValueError as error:
            raise _unusable(f"The text cannot be said: {error}.") from None
        return _told(is_sent, "saying")

    async def silence(self, request: web.Request) -> web.Response:
        seconds = await _asked(request, "seconds")
        is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not is_number or not 0 <= seconds <= MAX_SILENCE_S:  # NaN is in no range
            raise _unusable(f"`seconds` must be a number from 0 to {MAX_SILENCE_S:g}.")
        is_sent = await self.directory.silence(request.match_info["call_id"], float(seconds))
        return _told(is_sent, "silent")


def make_app(directory: CallDirectory, settings: HttpSettings, served: Served) -> web.Application:
    """The application, not yet listening; for tests and for `ControlServer`."""
    api, access = _Api(directory, served.registry, show_pii=served.show_pii), served.access
    guards = [errors_as_json, allow_list(settings.allowed_peers), access.guard()]
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=guards)
    app.router.add_get("/healthz", api.health)
    app.router.add_get("/readyz", api.ready)
    if settings.metrics_port is None:
        app.router.add_get("/metrics", api.metrics)
    app.router.add_get("/v1/calls", api.list_calls)
    app.router.add_get("/v1/calls/{call_id}", api.show_call)
    app.router.add_post("/v1/calls/{call_id}/hangup", api.hang_up)
    app.router.add_post("/v1/calls/{call_id}/say", api.say)
    app.router.add_post("/v1/calls/{call_id}/silence", api.silence)
    add_outbound_routes(app, served.dial, served.transfer, show_pii=served.show_pii)
    add_access_routes(app, access, ConsoleFacts(served.recordings is not None, settings.grafana_url))
    add_recording_routes(app, served.recordings, served.salt)
    add_console_page(app)
    if served.live is not None:
        add_live_routes(app, served.live)
    _add_feed(app, ConsoleFeed(directory, show_pii=served.show_pii), access)
    return app


def _add_feed(app: web.Application, feed: ConsoleFeed, access: Access) -> None:
    async def events(request: web.Request) -> web.WebSocketResponse:
        return await feed.serve(request, lambda: access.is_still_known(request))

    async def run(_app: web.Application) -> AsyncIterator[None]:
        async for _ in feeding(feed):
            yield

    async def close(_app: web.Application) -> None:
        feed.close()

    app.router.add_get("/v1/console/events", events)
    app.cleanup_ctx.append(run)
    app.on_shutdown.append(close)


def make_metrics_app(settings: HttpSettings, registry: CollectorRegistry) -> web.Application:
    """/metrics alone, without a key, for the peers on the allow-list."""

    async def metrics(_request: web.Request) -> web.Response:
        return _exposition(registry)

    app = web.Application(middlewares=[errors_as_json, allow_list(settings.allowed_peers)])
    app.router.add_get("/metrics", metrics)
    return app


def _exposition(registry: CollectorRegistry) -> web.Response:
    return web.Response(body=generate_latest(registry), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})


class ControlServer:
    """The listening API: an async context manager. `port` is the real one when settings asked for any."""

    def __init__(self, directory: CallDirectory, settings: HttpSettings, served: Served) -> None:
        self._settings, self._directory, self._served = settings, directory, served
        self._stack = contextlib.AsyncExitStack()
        self.port = settings.port
        self.metrics_port = settings.metrics_port

    async def __aenter__(self) -> ControlServer:
        """Listen.

        Raises ConfigError if an address is taken or not ours.
        """
        settings = self._settings
        try:
            app = make_app(self._directory, settings, self._served)
            self.port = await self._listen(app, settings.port, "OFFHOOK_HTTP__PORT")
            if settings.metrics_port is not None:
                app = make_metrics_app(settings, self._served.registry)
                variable = "OFFHOOK_HTTP__METRICS_PORT"
                self.metrics_port = await self._listen(app, settings.metrics_port, variable)
        except BaseException:
            await self._stack.aclose()
            raise
        log.info("http_listening", address=settings.bind_address, port=self.port)
        return self

    async def _listen(self, app: web.Application, port: int, variable: str) -> int:
        """Serve this application; the port that it got."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        self._stack.push_async_callback(runner.cleanup)
        await runner.setup()
        address = self._settings.bind_address
        try:
            await web.TCPSite(runner, address, port).start()
        except OSError as error:
            raise ConfigError(
                f"HTTP cannot listen on {address} port {port} ({os.strerror(error.errno or 0)}); "
                f"stop what listens there or set {variable} or OFFHOOK_HTTP__BIND_ADDRESS"
            ) from None
        return int(runner.addresses[0][1])

    async def __aexit__(self, *_error: object) -> None:
        """Stop listening; what is being answered gets SHUTDOWN_TIMEOUT_S."""
        await self._stack.aclose()


async def _asked(request: web.Request, name: str) -> Any:
    """The one field of a JSON body, of whatever kind. Raises ApiError if the body is anything else."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise _unusable("The body is no JSON.") from None
    if not isinstance(body, dict) or body.keys() != {name}:
        raise _unusable(f"The body must hold `{name}` and nothing else.")
    return body[name]


def _told(is_sent: bool | None, status: str) -> web.Response:
    if is_sent is None:
        raise _no_such_call()
    if not is_sent:
        message = "No model answers this call just now: its worker is being replaced."
        raise ApiError(409, "no_model", message, "Ask again in a few seconds.")
    return web.json_response({"status": status}, status=202)


def _unusable(message: str) -> ApiError:
    return ApiError(422, "unusable_request", message, 'Send {"text": "..."} or {"seconds": 5}.')


def _no_such_call() -> ApiError:
    return ApiError(404, "no_such_call", "No live call has this id.", "GET /v1/calls lists the live ones.")
