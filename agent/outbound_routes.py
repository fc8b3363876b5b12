"""Placing calls, and handing callers over, over HTTP.

    POST /v1/calls    {"to": "+4930123456"}; 202: {"call": ...}, dialling; GET /v1/calls/{id} follows it
                      "trunk", "caller_id": whose rules, and which of our numbers is shown
                      "greeting": what the agent says first, in place of the configured sentence
                      "on_machine": "talk" (default: the greeting is said again after the beep) or
                      "hang_up"; the call's `answered_by` says who took it

    POST /v1/calls/{id}/transfer    {"to": "sip:desk@192.0.2.7"}; 202: see the call's `transfer`
                      "mode": "blind" (default) or "attended"; "summary": what the target is told
                      "trunk": by whose rules and account; without it, the call's own

A key with the right `calls:dial` (`calls:control` for a transfer) asks; `agent.outbound.OutboundPolicy`
decides. What it will never allow is
403 (422 if the destination cannot be read), what it does not allow just now 429; 503: no slot, or no Redis.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast, get_args

from aiohttp import hdrs, web

from agent.errors import NoFreeSlot
from agent.http_errors import ApiError
from agent.outbound import DEFAULT_TRUNK, OutboundRefused, Refusal
from agent.outbound_calls import DialOrder, OnMachine
from agent.slot import PromptRefused
from agent.store import SessionRecord
from agent.transfer import MAX_SUMMARY, TransferOrder
from agent.transfer_settings import TransferMode

MAX_FIELD = 255
LONG = {"greeting": 2000, "summary": MAX_SUMMARY}
RETRY_S = 5
FIELDS = {"to", "trunk", "caller_id", "greeting", "on_machine"}

TRANSFER_FIELDS = {"to", "mode", "summary", "trunk"}

Dial = Callable[[DialOrder], Awaitable[SessionRecord]]
Transfer = Callable[[str, TransferOrder], bool | None]


@dataclass(frozen=True, slots=True)
class _Outbound:
    dial: Dial | None
    transfer: Transfer | None
    show_pii: bool

    async def place(self, request: web.Request) -> web.Response:
        order = read_order(await request.read())
        try:
            if self.dial is None:
                raise OutboundRefused(Refusal.OFF)
            record = await self.dial(order)
        except OutboundRefused as error:
            raise refused(error) from None
        except PromptRefused as error:
            raise ApiError(500, "prompt_refused", f"{error}.", "See `offhook check`.") from None
        except NoFreeSlot as error:
            raise ApiError(503, "no_free_slot", "No slot is free.", f"{error}.", _retry()) from None
        return web.json_response({"call": record.public(show_pii=self.show_pii)}, status=202)

    async def hand_over(self, request: web.Request) -> web.Response:
        order = read_transfer(await request.read())
        try:
            if self.transfer is None:
                raise OutboundRefused(Refusal.OFF)
            is_begun = self.transfer(request.match_info["call_id"], order)
        except OutboundRefused as error:
            raise refused(error) from None
        if is_begun is None:
            raise ApiError(404, "no_such_call", "No live call has this id.", "GET /v1/calls lists them.")
        if not is_begun:
            raise ApiError(409, "transfer_under_way", "The caller is just being handed over.", "Wait for it.")
        return web.json_response({"status": "transferring"}, status=202)


def add_outbound_routes(
    app: web.Application, dial: Dial | None, transfer: Transfer | None, *, show_pii: bool
) -> None:
    """Add the routes above, which raise what `Dialler.start` and `Gateway.transfer` do; None: refused."""
    api = _Outbound(dial, transfer, show_pii)
    app.router.add_post("/v1/calls", api.place)
    app.router.add_post("/v1/calls/{call_id}/transfer", api.hand_over)


def read_order(body: bytes) -> DialOrder:
    """The body of a request. Raises ApiError."""
    asked = _texts(body, FIELDS)
    on_machine = asked.get("on_machine", "talk")
    if on_machine not in get_args(OnMachine):
        raise _unusable(f"`on_machine` must be one of {', '.join(get_args(OnMachine))}.")
    return DialOrder(
        asked["to"],
        asked.get("trunk") or DEFAULT_TRUNK,
        asked.get("caller_id", ""),
        asked.get("greeting"),
        cast(OnMachine, on_machine),
    )


def read_transfer(body: bytes) -> TransferOrder:
    """Likewise, of a transfer. Raises ApiError."""
    asked = _texts(body, TRANSFER_FIELDS)
    mode = asked.get("mode", "blind")
    if mode not in get_args(TransferMode):
        raise _unusable(f"`mode` must be one of {', '.join(get_args(TransferMode))}.")
    return TransferOrder(
        asked["to"], cast(TransferMode, mode), asked.get("summary", ""), asked.get("trunk", "")
    )


def _texts(body: bytes, fields: set[str]) -> dict[str, str]:
    """A JSON object of these fields, `to` among them, all of them texts. Raises ApiError."""
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise _unusable("The body is no JSON.") from None
    if not isinstance(asked, dict) or not asked.keys() <= fields or "to" not in asked:
        raise _unusable(f"The body must hold `to`, and may hold {', '.join(sorted(fields - {'to'}))}.")
    for name, value in asked.items():
        limit = LONG.get(name, MAX_FIELD)
        if not isinstance(value, str) or len(value) > limit:
            raise _unusable(f"`{name}` must be a text of at most {limit} characters.")
    return asked


def refused(error: OutboundRefused) -> ApiError:
    """What an API is told of a call that may not be."""
    refusal = error.refusal
    if refusal is Refusal.COUNTERS_AWAY:
        return ApiError(503, refusal.value, "The call cannot be counted.", f"{error}.", _retry())
    if refusal.is_lasting:
        status = 422 if refusal in (Refusal.NO_DESTINATION, Refusal.UNKNOWN_TRUNK) else 403
        return ApiError(status, refusal.value, "This call may not be placed.", f"{error}.")
    return ApiError(429, refusal.value, "This call may not be placed now.", f"{error}.", _retry())


def _retry() -> dict[str, str]:
    return {hdrs.RETRY_AFTER: str(RETRY_S)}


def _unusable(message: str) -> ApiError:
    return ApiError(422, "unusable_request", message, 'Send {"to": "+4930123456"}.')
