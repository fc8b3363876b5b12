"""The door of the HTTP side: who asks, whether they may, and how often. Every request passes here.

Three ways to be known: an API key as `Authorization: Bearer`, a browser session (a cookie that a login code
or a key was exchanged for), and a token for one `POST /v1/live/sessions`. Loopback is no exemption: any
program and any web page on this machine can reach 127.0.0.1. Whoever is not known gets one and the same 401,
also where there is nothing. What comes with a cookie, and every WebSocket, must come from our own page.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from agent.access_keys import CONSOLE_RIGHTS, KeyFile, Right
from agent.access_limits import PeerBuckets, peer_name, retry_after
from agent.access_rules import LIVE_SESSIONS, is_for_anybody_known, rule_of
from agent.access_tickets import Ticket, Tickets
from agent.clock import Now, now
from agent.http_errors import ApiError

CODE_LIFE_S = 600.0  # from the start, or from when the link was asked for, to the click
SESSION_LIFE_S = 12 * 3600.0  # a shift
TOKEN_LIFE_S = 60.0
MAX_CODES, MAX_SESSIONS, MAX_TOKENS = 64, 1024, 1024
BURST_S = 4.0  # a page loads its files at once
FAILURES_BURST, FAILURES_PER_S = 10.0, 0.2  # wrong keys and codes

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks."""

    name: str
    rights: frozenset[Right]
    key_id: str | None = None  # the key behind it; None: the printed link
    has_cookie: bool = False

    def allows(self, right: Right) -> bool:
        """Whether they may do this."""
        return right in self.rights or Right.ADMIN in self.rights


IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity", Identity)


class Access:
    """The keys and tickets of one gateway, and the middleware that asks for them."""

    def __init__(
        self, keys: KeyFile, *, origins: Sequence[str] = (), requests_per_s: float = 50.0, clock: Now = now
    ) -> None:
        """`origins`: where our page may come from besides this gateway itself, like https://calls.example."""
        self.keys = keys
        self.codes = Tickets(clock, life_s=CODE_LIFE_S, max_held=MAX_CODES)
        self.sessions = Tickets(clock, life_s=SESSION_LIFE_S, max_held=MAX_SESSIONS)
        self.tokens = Tickets(clock, life_s=TOKEN_LIFE_S, max_held=MAX_TOKENS)
        self._origins = frozenset(origins)
        self._requests = PeerBuckets(clock, per_s=requests_per_s, burst=BURST_S * requests_per_s)
        self._failures = PeerBuckets(clock, per_s=FAILURES_PER_S, burst=FAILURES_BURST)

    def new_login_code(self) -> str:
        """A code that opens the console once, within ten minutes."""
        return self.codes.issue(CONSOLE_RIGHTS, "console")

    def guard(self) -> Middleware:
        """The middleware: afterwards `request[IDENTITY]` is there unless the path is open to strangers."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._limit(request)
            identity = self.identify(request)
            if identity is not None:
                request[IDENTITY] = identity
            self._check(request, identity)
            return await handler(request)

        return guard

    def identify(self, request: web.Request) -> Identity | None:
        """Who asks, or None. Raises ApiError 429 once too many wrong keys came from there."""
        scheme, _, text = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if text:
            found = self._bearer(request, text.strip()) if scheme.lower() == "bearer" else None
            if found is None:
                self.note_failure(request)
            return found
        ticket = self.sessions.find(request.cookies.get(cookie_name(request), ""))
        if ticket is None or not self._is_valid(ticket):
            return None
        return Identity(ticket.name, ticket.rights, ticket.key_id, has_cookie=True)

    def is_still_known(self, request: web.Request) -> bool:
        """Whether who began this request, a WebSocket say, would be let in now."""
        text = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")[2]
        if text:
            return self.keys.find(text.strip()) is not None
        ticket = self.sessions.find(request.cookies.get(cookie_name(request), ""))
        return ticket is not None and self._is_valid(ticket)

    def note_failure(self, request: web.Request) -> None:
        """A wrong key or code came; after too many of them the answer is 429, right ones still pass."""
        wait_s = self._failures.take(peer_name(peer_address(request)))
        if wait_s:
            raise _too_often(wait_s)

    def is_our_page(self, request: web.Request) -> bool:
        """Whether the browser says that this request comes from our own page."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            site = request.headers.get("Sec-Fetch-Site", "same-origin")
            return request.method in ("GET", "HEAD") and site in ("same-origin", "none")
        return origin in self._origins or (is_own_host(request.host) and origin == f"http://{request.host}")

    def _bearer(self, request: web.Request, text: str) -> Identity | None:
        key = self.keys.find(text)
        if key is not None:
            return Identity(key.name, key.rights, key.key_id)
        if (request.method, request.path) != (hdrs.METH_POST, LIVE_SESSIONS):
            return None
        ticket = self.tokens.redeem(text)
        if ticket is None or not self._is_valid(ticket):
            return None
        return Identity(ticket.name, ticket.rights, ticket.key_id)

    def _is_valid(self, ticket: Ticket) -> bool:
        return ticket.key_id is None or self.keys.by_id(ticket.key_id) is not None

    def _limit(self, request: web.Request) -> None:
        if request.path != "/healthz" and (wait_s := self._requests.take(peer_name(peer_address(request)))):
            raise _too_often(wait_s)

    def _check(self, request: web.Request, identity: Identity | None) -> None:
        resource = request.match_info.route.resource
        right = rule_of(request.method, resource.canonical) if resource is not None else Right.ADMIN
        is_web_socket = request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
        has_origin = hdrs.ORIGIN in request.headers
        if (identity is not None and identity.has_cookie) or (is_web_socket and has_origin):
            self._check_origin(request)
        if right is None:
            return
        if identity is None:
            raise unauthorized()
        if resource is None or is_for_anybody_known(request.method, resource.canonical):
            return  # the router says 404 or 405, which is no secret to them
        if not identity.allows(right):
            raise ApiError(
                403, "missing_right", "This key may not do that.", f"Use one with the right {right}."
            )

    def _check_origin(self, request: web.Request) -> None:
        if not self.is_our_page(request):
            log.warning("foreign_origin", path=request.path, origin=request.headers.get(hdrs.ORIGIN))
            remedy = (
                "Open the console at the address it is served from, or list that in OFFHOOK_HTTP__ORIGINS."
            )
            raise ApiError(403, "foreign_origin", "Another site may not ask in your name.", remedy)


def unauthorized() -> ApiError:
    """The one answer to whoever is not known."""
    return ApiError(
        401,
        "invalid_api_key",
        "No valid key came with this request.",
        "Send `Authorization: Bearer <key>`; `offhook keys add NAME` makes one.",
        {hdrs.WWW_AUTHENTICATE: "Bearer"},
    )


def _too_often(wait_s: float) -> ApiError:
    after = retry_after(wait_s)
    headers = {str(hdrs.RETRY_AFTER): after}
    return ApiError(429, "too_many_requests", "This address asks too often.", f"Wait {after} s.", headers)


def cookie_name(request: web.Request) -> str:
    """The session's cookie. Cookies know no ports, so the name does: two gateways on one machine differ."""
    try:
        port = request.url.port or 0
    except ValueError:  # a Host header that is none: whoever sent it has no cookie of ours
        port = 0
    return f"offhook_session_{port}"


def is_own_host(host: str) -> bool:
    """Whether a Host header names this gateway plainly: an address, or localhost. A name that someone else's
    DNS answers for us proves nothing.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def peer_address(request: web.Request) -> IpAddress | None:
    """Who is at the other end of the socket; headers that claim otherwise are not believed."""
    try:
        address = ipaddress.ip_address((request.remote or "").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def allow_list(allowed_peers: Sequence[str]) -> Middleware:
    """Serve only this machine and the listed networks."""
    networks = [ipaddress.ip_network(cidr) for cidr in allowed_peers]

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = peer_address(request)
        if peer is None or not (peer.is_loopback or any(peer in network for network in networks)):
            raise ApiError(
                403, "not_allowed", "This address may not ask.", "List it in OFFHOOK_HTTP__ALLOWED_PEERS."
            )
        return await handler(request)

    return guard
