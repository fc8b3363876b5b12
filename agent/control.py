"""The HTTP side: health, readiness, metrics, and the live calls. No audio, and nothing that a call waits for.

    GET  /healthz                  200 while the event loop turns
    GET  /readyz                   200 if a call can be taken now, else 503 with the reasons
    GET  /metrics                  Prometheus text
    GET  /v1/calls                 {"calls": [...]}, oldest first; callers masked unless OFFHOOK_LOG__PII
    GET  /v1/calls/{id}            one of them
    POST /v1/calls/{id}/hangup     202: the call is ending
    POST /v1/calls/{id}/say        {"text": "..."}; 202: the agent says it next, in its own rhythm;
                                   it answers what a call shows as `delegated`
    POST /v1/calls/{id}/silence    {"seconds": 5}; 202: the agent is silent for so long, 0: no longer

Every error is JSON: {"error": {"code": ..., "message": ..., "remedy": ...}}. Only this machine and the peers
on the allow-list are served. There is no login: put a proxy that has one in front before opening it wider.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from agent.errors import ConfigError
from agent.live_calls import LiveCalls
from agent.live_routes import add_live_routes
from agent.settings import HttpSettings
from agent.store import SessionRecord

MAX_BODY_BYTES = 16_384  # a text of MAX_SAY_CHARS, however it is escaped
MAX_SAY_CHARS = 2000
MAX_SILENCE_S = 600.0
SHUTDOWN_TIMEOUT_S = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Can a call be taken now? `reasons` says why not; `degraded` what is missing though calls go on."""

    reasons: Sequence[str] = ()
    degraded: Sequence[str] = ()


class CallDirectory(Protocol):
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


class ApiError(Exception):
    """A request that cannot be served: becomes the JSON error body."""

    def __init__(self, status: int, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.status, self.code, self.remedy = status, code, remedy


@dataclass(frozen=True, slots=True)
class _Api:
    directory: CallDirectory
    registry: CollectorRegistry
    show_pii: bool = field(default=False, kw_only=True)

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        state = self.directory.readiness()
        body = {"ready": not state.reasons, "reasons": list(state.reasons), "degraded": list(state.degraded)}
        return web.json_response(body, status=503 if state.reasons else 200)

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self.registry), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST}
        )

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


def make_app(
    directory: CallDirectory,
    settings: HttpSettings,
    registry: CollectorRegistry,
    *,
    show_pii: bool = False,
    live: LiveCalls | None = None,
) -> web.Application:
    """The application, not yet listening; for tests and for `serve_http`."""
    api = _Api(directory, registry, show_pii=show_pii)
    guards = [_errors_as_json, _allow_list(settings.allowed_peers)]
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=guards)
    app.router.add_get("/healthz", api.health)
    app.router.add_get("/readyz", api.ready)
    app.router.add_get("/metrics", api.metrics)
    app.router.add_get("/v1/calls", api.list_calls)
    app.router.add_get("/v1/calls/{call_id}", api.show_call)
    app.router.add_post("/v1/calls/{call_id}/hangup", api.hang_up)
    app.router.add_post("/v1/calls/{call_id}/say", api.say)
    app.router.add_post("/v1/calls/{call_id}/silence", api.silence)
    if live is not None:
        add_live_routes(app, live)
    return app


class ControlServer:
    """The listening API: an async context manager. `port` is the real one when settings asked for any."""

    def __init__(
        self,
        directory: CallDirectory,
        settings: HttpSettings,
        registry: CollectorRegistry,
        *,
        show_pii: bool,
        live: LiveCalls | None = None,
    ) -> None:
        app = make_app(directory, settings, registry, show_pii=show_pii, live=live)
        self._settings = settings
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        self.port = settings.port

    async def __aenter__(self) -> ControlServer:
        """Listen.

        Raises ConfigError if the address is taken or not ours.
        """
        address, port = self._settings.bind_address, self._settings.port
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, address, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"HTTP cannot listen on {address} port {port} ({os.strerror(error.errno or 0)}); "
                "stop what listens there or set OFFHOOK_HTTP__PORT or OFFHOOK_HTTP__BIND_ADDRESS"
            ) from None
        self.port = self._runner.addresses[0][1]
        log.info("http_listening", address=address, port=self.port)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop listening; what is being answered gets SHUTDOWN_TIMEOUT_S."""
        await self._runner.cleanup()


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


def _error_body(code: str, message: str, remedy: str) -> dict[str, dict[str, str]]:
    return {"error": {"code": code, "message": message, "remedy": remedy}}


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(_error_body(error.code, str(error), error.remedy), status=error.status)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "_")
        remedy = "See GET /v1/calls, /healthz, /readyz and /metrics."
        headers = {hdrs.ALLOW: error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else None
        body = _error_body(code, f"{request.method} here gives: {error.reason}.", remedy)
        return web.json_response(body, status=error.status, headers=headers)
    except Exception:
        log.exception("http_request_failed", path=request.path)
        body = _error_body("internal_error", "The request failed inside Offhook.", "The log has the cause.")
        return web.json_response(body, status=500)


def _allow_list(allowed_peers: Sequence[str]) -> Middleware:
    networks = [ipaddress.ip_network(cidr) for cidr in allowed_peers]

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = _peer_address(request)
        if peer is None or not (peer.is_loopback or any(peer in network for network in networks)):
            raise ApiError(
                403, "not_allowed", "This address may not ask.", "List it in OFFHOOK_HTTP__ALLOWED_PEERS."
            )
        return await handler(request)

    return guard


def _peer_address(request: web.Request) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Who is at the other end of the socket; headers that claim otherwise are not believed."""
    try:
        address = ipaddress.ip_address((request.remote or "").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
