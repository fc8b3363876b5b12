"""How a browser becomes known, and how its page gets a token for one call.

POST /v1/console/login     {"code": "..."} or {"key": "..."}; 200 and a session's cookie
POST /v1/console/logout    204: the session is over
GET  /v1/console/session   {"name", "rights", "recordings", "grafana_url"}
POST /v1/console/token     201 {"token", "expires_in_s"}: a bearer for one POST /v1/live/sessions
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import structlog
from aiohttp import hdrs, web

from agent.access import IDENTITY, Access, Identity, cookie_name, unauthorized
from agent.access_keys import Right
from agent.http_errors import ApiError

MAX_SECRET = 200

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConsoleFacts:
    """What the page must know of the gateway's settings."""

    has_recordings: bool = False
    grafana_url: str = ""


@dataclass(frozen=True, slots=True)
class _Login:
    access: Access
    facts: ConsoleFacts

    async def log_in(self, request: web.Request) -> web.Response:
        if not self.access.is_our_page(request):
            raise ApiError(
                403, "foreign_origin", "Another site may not log you in.", "Log in on the console's own page."
            )
        kind, secret = await _given(request)
        identity = self._known(kind, secret)
        if identity is None:
            self.access.note_failure(request)
            raise unauthorized()
        session = self.access.sessions.issue(identity.rights, identity.name, identity.key_id)
        log.info("console_login", name=identity.name, by=kind)
        response = web.json_response(self._about(identity))
        response.set_cookie(
            cookie_name(request),
            session,
            max_age=int(self.access.sessions.life_s),
            httponly=True,
            samesite="Strict",
            secure=request.headers.get(hdrs.ORIGIN, "").startswith("https://"),
        )
        return response

    def _known(self, kind: str, secret: str) -> Identity | None:
        if kind == "key":
            key = self.access.keys.find(secret)
            return None if key is None else Identity(key.name, key.rights, key.key_id)
        ticket = self.access.codes.redeem(secret)
        return None if ticket is None else Identity(ticket.name, ticket.rights)

    async def log_out(self, request: web.Request) -> web.Response:
        self.access.sessions.end(request.cookies.get(cookie_name(request), ""))
        response = web.Response(status=204)
        response.del_cookie(cookie_name(request))
        return response

    async def session(self, request: web.Request) -> web.Response:
        return web.json_response(self._about(request[IDENTITY]))

    async def token(self, request: web.Request) -> web.Response:
        identity = request[IDENTITY]
        token = self.access.tokens.issue(frozenset({Right.CALLS_CREATE}), identity.name, identity.key_id)
        return web.json_response({"token": token, "expires_in_s": self.access.tokens.life_s}, status=201)

    def _about(self, identity: Identity) -> dict[str, object]:
        return {
            "name": identity.name,
            "rights": sorted(right for right in Right if identity.allows(right)),
            "recordings": self.facts.has_recordings,
            "grafana_url": self.facts.grafana_url,
        }


def add_access_routes(app: web.Application, access: Access, facts: ConsoleFacts) -> None:
    """Add the four routes above."""
    login = _Login(access, facts)
    app.router.add_post("/v1/console/login", login.log_in)
    app.router.add_post("/v1/console/logout", login.log_out)
    app.router.add_get("/v1/console/session", login.session)
    app.router.add_post("/v1/console/token", login.token)


async def _given(request: web.Request) -> tuple[str, str]:
    """("code" or "key", its text). Raises ApiError for any other body."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict) and len(body) == 1:
        kind, secret = next(iter(body.items()))
        if kind in ("code", "key") and isinstance(secret, str) and 0 < len(secret) <= MAX_SECRET:
            return kind, secret
    raise ApiError(422, "unusable_request", "The body names no code and no key.", 'Send {"key": "..."}.')
