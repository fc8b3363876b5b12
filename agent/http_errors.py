"""What an HTTP request that cannot be served is told: one JSON shape, which OpenAI's clients read, too.

{"error": {"code", "message", "remedy", "type", "param"}}
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

log = structlog.get_logger(__name__)


class ApiError(Exception):
    """A request that cannot be served: becomes the JSON error body."""

    def __init__(
        self, status: int, code: str, message: str, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.remedy = status, code, remedy
        self.headers = dict(headers or {})


def error_body(status: int, code: str, message: str, remedy: str) -> dict[str, dict[str, str | None]]:
    """The body of an answer of this status."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"code": code, "message": message, "remedy": remedy, "type": kind, "param": None}}


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let every failure leave in that shape; our own faults tell no details."""
    try:
        return await handler(request)
    except ApiError as error:
        body = error_body(error.status, error.code, str(error), error.remedy)
        return web.json_response(body, status=error.status, headers=error.headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "_")
        remedy = "See GET /v1/calls, /v1/recordings, /healthz, /readyz and /metrics."
        headers = {hdrs.ALLOW: error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else None
        body = error_body(error.status, code, f"{request.method} here gives: {error.reason}.", remedy)
        return web.json_response(body, status=error.status, headers=headers)
    except Exception:
        log.exception("http_request_failed", path=request.path)
        body = error_body(
            500, "internal_error", "The request failed inside Offhook.", "The log has the cause."
        )
        return web.json_response(body, status=500)
