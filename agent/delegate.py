"""What the model cannot know: it says "One moment." and asks; others answer, the agent says it.

Two ways to answer. With OFFHOOK_AGENT__DELEGATE_URL we POST there

    {"call_id": "...", "transcript": "where is my order", "order": {"drink": "latte", "size": "large"}}

(null for `order` if none was read back; with `headers`, of the INVITE, if the call's trunk passes any on) and
expect 200 with {"say": "Your order is ready."}. Without it
whoever follows the call answers by POST /v1/calls/{id}/say; GET /v1/calls/{id} shows what waits as
`delegated`. If nothing has come within the time limit, the agent says the fallback sentence. Event loop only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp
import structlog

from agent import metrics
from agent.clock import Now
from agent.settings import AgentSettings
from agent.transcript import Speaker, TimedWord
from model.order import Order, order_as_json, understand

MAX_ANSWER_BYTES = 16_384
MAX_SAY_CHARS = 2000

log = structlog.get_logger(__name__)


class DelegateResult(StrEnum):
    """How a question ended; the label `result` of `offhook_delegations_total`."""

    ANSWERED = "answered"  # by the service at the URL
    OPERATOR = "operator"  # by POST /v1/calls/{id}/say
    TIMED_OUT = "timed_out"
    FAILED = "failed"  # no connection, no 200, or not what is agreed upon
    UNSPEAKABLE = "unspeakable"  # the model cannot say the answer


for _result in DelegateResult:  # a counter that appears with its first event hides it from rate()
    metrics.DELEGATIONS.labels(_result.value)


@dataclass(frozen=True, slots=True)
class Question:
    """What a call wants to know."""

    call_id: str
    transcript: str  # the caller's last words
    order: Order | None  # the last that the agent read back
    headers: Mapping[str, str] = field(default_factory=dict)  # of the INVITE, by lower-case name

    def as_json(self) -> dict[str, Any]:
        """The body of the request."""
        order = order_as_json(self.order) if self.order is not None else None
        body = {"call_id": self.call_id, "transcript": self.transcript, "order": order}
        return body | {"headers": dict(self.headers)} if self.headers else body


class _Unanswered(Exception):
    """The service gave no usable answer; the text says why."""


def question_of(call_id: str, lines: list[TimedWord], headers: Mapping[str, str] | None = None) -> Question:
    """The question that a call's dialogue (lines in order, see `Transcript.dialogue`) ends with."""
    asked = next((line.text for line in reversed(lines) if line.speaker is Speaker.CALLER), "")
    read_back = (
        meant
        for line in reversed(lines)
        if line.speaker is Speaker.AGENT and line.text.lower().rstrip("?").endswith("right")
        if isinstance(meant := understand(line.text), Order)
    )
    return Question(call_id, asked, next(read_back, None), headers or {})


class Delegation:
    """One call's open question, if there is one; `answered_by_operator` ends it from outside."""

    def __init__(self, settings: AgentSettings, now: Now, say: Callable[[str], Awaitable[bool]]) -> None:
        """`say` lets the agent say a text; it raises ValueError for one that the model cannot say."""
        self._settings, self._now, self._say = settings, now, say
        self._operator: asyncio.Event | None = None

    @property
    def is_open(self) -> bool:
        """Whether the caller waits for an answer."""
        return self._operator is not None

    def answered_by_operator(self) -> None:
        """Somebody else had the agent say something: that is the answer."""
        if self._operator is not None:
            self._operator.set()

    async def ask(self, question: Question) -> DelegateResult:
        """Find an answer and have it said; the fallback sentence if there is none in time."""
        self._operator = operator = asyncio.Event()
        began_s = self._now()
        log.info("delegated", has_url=bool(self._settings.delegate_url), pii_text=question.transcript)
        try:
            result = await self._answer(question, operator)
        finally:
            self._operator = None
        took_s = self._now() - began_s
        metrics.DELEGATIONS.labels(result.value).inc()
        metrics.DELEGATION_SECONDS.observe(took_s)
        log.info("delegate_ended", result=result.value, took_s=round(took_s, 3))
        return result

    async def _answer(self, question: Question, operator: asyncio.Event) -> DelegateResult:
        try:
            async with asyncio.timeout(self._settings.delegate_timeout_s):
                text = await self._first_of(question, operator)
        except TimeoutError:
            await self._say(self._settings.delegate_fallback)
            return DelegateResult.TIMED_OUT
        except _Unanswered as error:
            log.warning("delegate_failed", cause=str(error), remedy="see OFFHOOK_AGENT__DELEGATE_URL")
            await self._say(self._settings.delegate_fallback)
            return DelegateResult.FAILED
        if text is None:
            return DelegateResult.OPERATOR
        try:
            await self._say(text)
        except ValueError as error:
            log.warning("delegate_unspeakable", cause=str(error), pii_text=text)
            await self._say(self._settings.delegate_fallback)
            return DelegateResult.UNSPEAKABLE
        return DelegateResult.ANSWERED

    async def _first_of(self, question: Question, operator: asyncio.Event) -> str | None:
        """The service's answer, or None once the operator has answered. Raises _Unanswered."""
        if not self._settings.delegate_url:
            await operator.wait()
            return None
        asking = asyncio.ensure_future(_post(self._settings.delegate_url, question))
        waiting = asyncio.ensure_future(operator.wait())
        try:
            await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
            return None if operator.is_set() else asking.result()
        finally:
            asking.cancel()
            waiting.cancel()
            await asyncio.gather(asking, waiting, return_exceptions=True)


async def _post(url: str, question: Question) -> str:
    try:
        async with aiohttp.ClientSession() as session, session.post(url, json=question.as_json()) as response:
            if response.status != 200:
                raise _Unanswered(f"the service answered {response.status}")
            body = await response.content.read(MAX_ANSWER_BYTES + 1)
    except (aiohttp.ClientError, OSError) as error:
        raise _Unanswered(f"the service cannot be reached: {type(error).__name__}") from None
    return _text_in(body)


def _text_in(body: bytes) -> str:
    try:
        answer = json.loads(body) if len(body) <= MAX_ANSWER_BYTES else None
    except (ValueError, RecursionError):
        answer = None
    text = answer.get("say") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not 0 < len(text.strip()) <= MAX_SAY_CHARS:
        raise _Unanswered(f'the answer is not {{"say": "..."}} with 1 to {MAX_SAY_CHARS} characters')
    return text
