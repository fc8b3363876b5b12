"""The console's files, and the headers that let a browser run nothing but them."""

from __future__ import annotations

from pathlib import Path

from aiohttp import hdrs, web

from agent.http_errors import ApiError

FOLDER = Path(__file__).resolve().parent / "console"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing inline, nothing from elsewhere, in nobody's frame; the microphone is for the page itself.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


async def _index(_request: web.Request) -> web.FileResponse:
    return _file(FOLDER / "index.html")


async def _asset(request: web.Request) -> web.FileResponse:
    """A file of the folder by its name, among the names that are there."""
    name = request.match_info["name"]
    path = next((path for path in FOLDER.iterdir() if path.name == name and path.suffix in TYPES), None)
    if path is None:
        raise ApiError(404, "not_found", "The console has no such file.", "Open /.")
    return _file(path)


def _file(path: Path) -> web.FileResponse:
    return web.FileResponse(
        path, headers={hdrs.CONTENT_TYPE: TYPES[path.suffix], hdrs.CACHE_CONTROL: "no-cache"}
    )


async def harden(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on every answer; what is no file of ours is never kept."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def add_console_page(app: web.Application) -> None:
    """Serve the page at / and its files below /console/."""
    app.router.add_get("/", _index)
    app.router.add_get("/console/{name}", _asset)
    app.on_response_prepare.append(harden)
