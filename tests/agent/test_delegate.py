"""What the model passes on: asked of a real HTTP service, answered, said; else the fallback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from agent import metrics
from agent.clock import now
from agent.delegate import DelegateResult, Delegation, Question, question_of
from agent.settings import AgentSettings
from agent.transcript import Speaker, TimedWord
from model.order import Order

QUESTION = Question("abc", "where is my order", Order("latte", "large"))


class Shop:
    """A service that answers as told and keeps what it was asked."""

    def __init__(self, answer: Callable[[], Awaitable[web.Response]]) -> None:
        self._answer = answer
        self.asked: list[Any] = []

    async def ask(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        return await self._answer()


@asynccontextmanager
async def serving(shop: Shop) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/ask", shop.ask)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/ask"
    finally:
        await runner.cleanup()


class Voice:
    """Keeps what the agent was told to say; it has no digits."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def say(self, text: str) -> bool:
        if text.isdigit():
            raise ValueError("it holds nothing that this model can say")
        self.said.append(text)
        return True


def counted(result: DelegateResult) -> float:
    labels = {"result": result.value}
    return metrics.REGISTRY.get_sample_value("offhook_delegations_total", labels) or 0.0


def settings(url: str = "", timeout_s: float = 5.0) -> AgentSettings:
    return AgentSettings(delegate_url=url, delegate_timeout_s=timeout_s, delegate_fallback="no idea")


async def _says(body: object) -> web.Response:
    return web.json_response(body)


async def test_the_service_is_asked_and_its_answer_is_said() -> None:
    shop, voice = Shop(lambda: _says({"say": "Your order is ready."})), Voice()
    before = counted(DelegateResult.ANSWERED)
    async with serving(shop) as url:
        delegation = Delegation(settings(url), now, voice.say)
        assert await delegation.ask(QUESTION) is DelegateResult.ANSWERED
    assert shop.asked == [
        {"call_id": "abc", "transcript": "where is my order", "order": {"drink": "latte", "size": "large"}}
    ]
    assert voice.said == ["Your order is ready."] and not delegation.is_open
    assert counted(DelegateResult.ANSWERED) == before + 1


async def test_a_service_that_is_too_slow_is_not_waited_for() -> None:
    async def slow() -> web.Response:
        await asyncio.sleep(5)
        return web.json_response({"say": "too late"})

    voice = Voice()
    async with serving(Shop(slow)) as url:
        result = await Delegation(settings(url, 0.05), now, voice.say).ask(QUESTION)
    assert result is DelegateResult.TIMED_OUT and voice.said == ["no idea"]


@pytest.mark.parametrize("body", [{"say": ""}, {"say": 7}, {"text": "hello"}, [], {"say": "x" * 3000}])
async def test_what_is_not_agreed_upon_is_not_said(body: object) -> None:
    voice = Voice()
    async with serving(Shop(lambda: _says(body))) as url:
        assert await Delegation(settings(url), now, voice.say).ask(QUESTION) is DelegateResult.FAILED
    assert voice.said == ["no idea"]


async def test_nobody_there_and_an_answer_that_cannot_be_said() -> None:
    voice = Voice()
    async with serving(Shop(lambda: _says({"say": "12"}))) as url:
        assert await Delegation(settings(url), now, voice.say).ask(QUESTION) is DelegateResult.UNSPEAKABLE
    assert await Delegation(settings(url), now, voice.say).ask(QUESTION) is DelegateResult.FAILED
    assert voice.said == ["no idea", "no idea"]


async def test_whoever_follows_the_call_may_answer() -> None:
    voice = Voice()
    delegation = Delegation(settings(), now, voice.say)
    asking = asyncio.create_task(delegation.ask(QUESTION))
    await asyncio.sleep(0)
    assert delegation.is_open
    delegation.answered_by_operator()
    assert await asking is DelegateResult.OPERATOR and voice.said == []
    assert (
        await Delegation(settings(timeout_s=0.02), now, voice.say).ask(QUESTION) is DelegateResult.TIMED_OUT
    )
    assert voice.said == ["no idea"]


def test_the_question_is_the_callers_last_line_and_the_order_the_last_read_back() -> None:
    def line(speaker: Speaker, text: str, at_s: float) -> TimedWord:
        return TimedWord(speaker, text, at_s, at_s + 1)

    lines = [
        line(Speaker.CALLER, "a large latte with soy milk", 1),
        line(Speaker.AGENT, "a large latte with soy milk is that right", 3),
        line(Speaker.CALLER, "yes", 6),
        line(Speaker.AGENT, "great it will be ready in ten minutes anything else", 7),
        line(Speaker.CALLER, "where is my order", 10),
        line(Speaker.AGENT, "one moment", 12),
    ]
    asked = question_of("abc", lines)
    assert asked == Question("abc", "where is my order", Order("latte", "large", "soy milk"))
    assert question_of("abc", lines[4:]).as_json()["order"] is None
    assert question_of("abc", []) == Question("abc", "", None)


def test_every_result_is_on_the_page_before_it_happens() -> None:
    for result in DelegateResult:
        assert metrics.REGISTRY.get_sample_value("offhook_delegations_total", {"result": result}) is not None
