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
from agent.transfer import TransferOrder
from agent.wire import RefusalReason

Asking = TestClient[web.Request, web.Application]


class Phone:
    """Takes orders, or raises."""

    def __init__(self) -> None:
        self.orders: list[DialOrder] = []
        self.transfers: list[TransferOrder] = []
        self.error: Exception | None = None

    def transfer(self, call_id: str, order: TransferOrder) -> bool | None:
        if self.error is not None:
            raise self.error
        self.transfers.append(order)
        return {"c1": True, "busy": False}.get(call_id)

    async def dial(self, order: DialOrder) -> SessionRecord:
        if self.error is not None:
            raise self.error
        self.orders.append(order)
        return SessionRecord("c1", "gw", "outbound", "CALLING", 0, caller=f"sip:{order.to}@host")


@asynccontextmanager
async def asking(phone: Phone) -> AsyncIterator[Asking]:
    app = web.Application(middlewares=[errors_as_json])
    add_outbound_routes(app, phone.dial, phone.transfer, show_pii=False)
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


async def test_a_caller_is_handed_over_by_the_calls_id() -> None:
    phone = Phone()
    order = {"to": "sip:desk@h", "mode": "attended", "summary": "A latte.", "trunk": "t"}
    async with asking(phone) as client:
        for call_id, status in (("c1", 202), ("busy", 409), ("none", 404)):
            answer = await client.post(f"/v1/calls/{call_id}/transfer", json=order)
            assert answer.status == status
        assert phone.transfers[0] == TransferOrder("sip:desk@h", "attended", "A latte.", "t")
        for body in (
            {"to": "sip:desk@h", "mode": "loud"},
            {"to": "a", "summary": "x" * 501},
            {"mode": "blind"},
        ):
            assert (await client.post("/v1/calls/c1/transfer", json=body)).status == 422
        phone.error = OutboundRefused(Refusal.NOT_ALLOWED)
        answer = await client.post("/v1/calls/c1/transfer", json={"to": "+1900"})
        assert (answer.status, len(phone.transfers)) == (403, 3)


async def test_where_no_call_is_placed_the_answer_says_so() -> None:
    app = web.Application(middlewares=[errors_as_json])
    add_outbound_routes(app, None, None, show_pii=False)
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
