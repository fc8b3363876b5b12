"""POST /v1/calls, asked over a real socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agent.errors import NoFreeSlot
from agent.http_errors import errors_as_json
from agent.outbound import OutboundRefused, Refusal
from agent.outbound_calls import DialOrder
from agent.outbound_routes import add_outbound_routes
from agent.slot import PromptRefused
from agent.store import SessionRecord
from agent.wire import RefusalReason

Asking = TestClient[web.Request, web.Application]


class Phone:
    """Takes orders, or raises."""

    def __init__(self) -> None:
        self.orders: list[DialOrder] = []
        self.error: Exception | None = None

    async def dial(self, order: DialOrder) -> SessionRecord:
        if self.error is not None:
            raise self.error
        self.orders.append(order)
        return SessionRecord("c1", "gw", "outbound", "CALLING", 0, caller=f"sip:{order.to}@host")


@asynccontextmanager
async def asking(phone: Phone) -> AsyncIterator[Asking]:
    app = web.Application(middlewares=[errors_as_json])
    add_outbound_routes(app, phone.dial, show_pii=False)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_an_order_is_passed_on_and_its_number_is_masked_in_the_answer() -> None:
    phone = Phone()
    async with asking(phone) as client:
        answer = await client.post("/v1/calls", json={"to": "+4930123456"})
        assert answer.status == 202
        call = (await answer.json())["call"]
        assert (call["call_id"], call["state"]) == ("c1", "CALLING") and "123" not in call["caller"]
        order = {
            "to": "sip:a@b",
            "trunk": "t",
            "caller_id": "+4930",
            "greeting": "Hi",
            "on_machine": "hang_up",
        }
        assert (await client.post("/v1/calls", json=order)).status == 202
    assert phone.orders == [
        DialOrder("+4930123456", "default"),
        DialOrder("sip:a@b", "t", "+4930", "Hi", "hang_up"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"to": 5}',
        b'{"to": "+49", "cost": "1"}',
        b'{"to": "+49", "on_machine": "shout"}',
        b'{"to": "' + b"1" * 300 + b'"}',
    ],
)
async def test_other_bodies_are_told_what_is_wrong(body: bytes) -> None:
    phone = Phone()
    async with asking(phone) as client:
        answer = await client.post("/v1/calls", data=body)
        assert answer.status == 422 and (await answer.json())["error"]["code"] == "unusable_request"
    assert phone.orders == []


async def test_where_no_call_is_placed_the_answer_says_so() -> None:
    app = web.Application(middlewares=[errors_as_json])
    add_outbound_routes(app, None, show_pii=False)
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/v1/calls", json={"to": "+4930123456"})
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "outbound_off")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OutboundRefused(Refusal.NOT_ALLOWED), 403, "destination_not_allowed"),
        (OutboundRefused(Refusal.NO_DESTINATION), 422, "no_destination"),
        (OutboundRefused(Refusal.TOO_MANY), 429, "concurrency"),
        (OutboundRefused(Refusal.COUNTERS_AWAY), 503, "counters_away"),
        (NoFreeSlot("every slot is taken"), 503, "no_free_slot"),
        (PromptRefused("w", RefusalReason.PROMPT, "no such voice"), 500, "prompt_refused"),
    ],
)
async def test_a_refusal_has_its_status_and_says_when_to_ask_again(
    error: Exception, status: int, code: str
) -> None:
    phone = Phone()
    phone.error = error
    async with asking(phone) as client:
        answer = await client.post("/v1/calls", json={"to": "+4930123456"})
        assert (answer.status, (await answer.json())["error"]["code"]) == (status, code)
        assert ("Retry-After" in answer.headers) == (status in (429, 503))
