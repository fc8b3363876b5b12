"""Calls of the built-in model over SIP in which something dies: the worker that holds the call, or Redis.

A caller in a held-out voice orders and hears the read-back. Then the worker gets SIGKILL; once another slot
is primed with the conversation (the gateway logs it) the caller says "yes" or "say that again", whose right
answers need the order. Here calls are placed and taped; `agent.bench_survival` judges them.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from agent.bench_gateway import GatewayProcess
from agent.bench_redis import RedisProcess
from agent.energy_gate import Pcm
from agent.errors import AgentError
from agent.evaluation.placed_call import PlacedCall, calling_end, place_call
from agent.evaluation.quick import MISSES, own_line
from agent.evaluation.script import Manner, ScriptedCaller, SpokenStep, Step, speak_step
from model.order_line import Intent, Order, Request, describe
from model.voices import Voice
from telephony.errors import CallRefused

if TYPE_CHECKING:
    from telephony.sip import SipGateway

VOICE = Voice("espeak", "en-us", "f3")  # held out, and understood: this bench is not about hearing
ORDERS = (
    Order("latte", "large", "soy milk"),
    Order("cappuccino", "small", "skim milk"),
    Order("coffee", "large", "cream"),
    Order("mocha", "medium", "whole milk"),
)
OPENERS = ("let me have", "I'd like to get", "could you make me", "please make me")
QUESTIONS = (
    Request(Intent.YES, "yes that's correct"),
    Request(Intent.REPEAT, "please say that again"),
    Request(Intent.YES, "yeah please"),
    Request(Intent.REPEAT, "could you say that again"),
)
SMALL_TALK = (
    Request(Intent.YES, "yes that's correct"),
    Request(Intent.HOURS, "when do you open today"),
    Request(Intent.WHERE, "where is your shop"),
)
QUIET_S = 0.9  # of the agent: the read-back is over
NO_READ_BACK_S = 20.0  # then it is done without one
LOOK_S = 0.05
CALL_LIMIT_S = 80.0
OUTAGE_S = 20.0
NEWCOMERS_S = (3.0, 12.0)  # into the outage
LAST_WORDS_S = 3.0
READY_S = 60.0
RECORD_TIMEOUT_S = 15.0
DROPPED = "offhook_worker_dropped_frames_total"


@dataclass(frozen=True, slots=True)
class Death:
    """A way to run the calls: so many warm workers, and whether the one that holds the call is killed."""

    name: str
    num_workers: int
    bar_s: float | None  # for the model to be heard again; None: nobody is killed


UNDISTURBED = Death("nobody killed", 1, None)
DEATHS = (UNDISTURBED, Death("one worker", 1, 20.0), Death("two workers", 2, 3.0))


class WatchedCaller:
    """A scripted caller; `is_answered` is set once the agent has answered the first turn."""

    def __init__(self, steps: Sequence[SpokenStep]) -> None:
        self.script = ScriptedCaller(steps)
        self.is_answered = asyncio.Event()
        self._is_over = False

    def __call__(self, heard: Pcm) -> Pcm | None:
        """One frame of the call, None to hang up."""
        said = self.script(heard)
        if self.script.answered_for_s >= QUIET_S or self.script.now_s > NO_READ_BACK_S:
            self.is_answered.set()
        return None if self._is_over else said

    def hang_up(self) -> None:
        """End the call with the next frame."""
        self._is_over = True


@dataclass(slots=True)
class Watch:
    """What was done to a call while it lasted; `died_s` and `back_s` on the caller's audio clock."""

    died_s: float = 0.0
    back_s: float = 0.0
    after_s: float | None = None  # until another slot was primed, or the record was back
    newcomers: list[PlacedCall | None] = field(default_factory=list)  # None: not answered


@dataclass(frozen=True, slots=True)
class Taped:
    """A call that is over, to be judged later."""

    caller: WatchedCaller
    call: PlacedCall
    watch: Watch
    num_late_ticks: int
    num_frames_dropped: int


def steps_of(number: int) -> list[SpokenStep]:
    """The turns of one call: an order, a question after the death, and what ends a repeated read-back."""
    question = QUESTIONS[number % len(QUESTIONS)]
    steps = [Step(order_request(number)), Step(question, Manner.CUE)]
    if question.intent is Intent.REPEAT:
        steps.append(Step(QUESTIONS[0]))
    return _spoken(steps)


def chat_steps(num_turns: int = 16) -> list[SpokenStep]:
    """Turns that last longer than Redis is away."""
    round_ = len(SMALL_TALK) + 1
    return _spoken([
        Step(order_request(turn // round_) if turn % round_ == 0 else SMALL_TALK[turn % round_ - 1])
        for turn in range(num_turns)
    ])  # fmt: skip


def order_request(number: int) -> Request:
    """One of the orders, in a held-out wording."""
    order = ORDERS[number % len(ORDERS)]
    what = describe(order)
    return Request(Intent.ORDER, f"{OPENERS[number % len(OPENERS)]} {what[0].lower()}{what[1:]}", order)


def _spoken(steps: Sequence[Step]) -> list[SpokenStep]:
    rng = random.Random(1)
    return [speak_step(step, VOICE, rng, rate=1.05, pitch=1.0, level_dbfs=-24.0) for step in steps]


# ---- calls ----

Doing = Callable[["SipGateway"], Coroutine[None, None, None]]


def _place(line: GatewayProcess, caller: WatchedCaller, watch: Watch, doing: Doing) -> Taped:
    """Let the caller call, and do something to the call meanwhile."""

    async def both() -> PlacedCall:
        async with calling_end() as phone, asyncio.TaskGroup() as group:
            task = group.create_task(doing(phone))
            call = await place_call(phone, line.uri, caller, CALL_LIMIT_S)
            task.cancel()
        return call

    try:
        call = asyncio.run(both())
    except TimeoutError:
        raise AgentError(f"our own line did not answer; it wrote:\n{line.log}") from None
    return Taped(caller, call, watch, round(line.metric(MISSES)), round(line.metric(DROPPED)))


def call_and_kill(death: Death, number: int) -> Taped:
    """One call on a line of its own, whose worker dies after the read-back."""
    caller, watch = WatchedCaller(steps_of(number)), Watch()

    async def kill(phone: SipGateway) -> None:
        await asyncio.to_thread(line.wait_for_metric, "offhook_calls_active", 1)
        pid = await asyncio.to_thread(line.holder)
        await caller.is_answered.wait()
        watch.died_s = caller.script.now_s
        if death.bar_s is not None:
            killed_at = time.time()
            os.kill(pid, signal.SIGKILL)
            watch.after_s = await _recovered_at(line) - killed_at
        caller.script.cue()

    with own_line(1, OFFHOOK_WORKER__COUNT=str(death.num_workers), OFFHOOK_LOG__FORMAT="json") as line:
        line.wait_for_metric("offhook_worker_slots", death.num_workers, READY_S)
        return _place(line, caller, watch, kill)


async def _recovered_at(line: GatewayProcess) -> float:
    """When another slot was primed for the call, Unix epoch; waits until it is."""
    while not (told := line.events("call_recovered")):  # noqa: ASYNC110  # a log has nothing to wait for
        await asyncio.sleep(LOOK_S)
    return datetime.fromisoformat(str(told[0]["timestamp"]).replace("Z", "+00:00")).timestamp()


def call_without_redis() -> Taped:
    """One call, in the middle of which Redis is killed and away for OUTAGE_S; others call meanwhile."""
    caller, watch = WatchedCaller(chat_steps()), Watch()

    async def stop_redis(phone: SipGateway) -> None:
        await asyncio.to_thread(line.wait_for_metric, "offhook_calls_active", 1)
        (live,) = await asyncio.to_thread(line.calls)
        await caller.is_answered.wait()
        watch.died_s, began_s = caller.script.now_s, time.monotonic()
        await asyncio.to_thread(redis.kill)
        for after_s in NEWCOMERS_S:
            await asyncio.sleep(began_s + after_s - time.monotonic())
            watch.newcomers.append(await _call_anew(phone, line))
        await asyncio.sleep(began_s + OUTAGE_S - time.monotonic())
        await asyncio.to_thread(redis.start)
        watch.back_s = caller.script.now_s
        watch.after_s = await asyncio.to_thread(_seconds_to_record, redis, live["call_id"])
        await asyncio.sleep(LAST_WORDS_S)
        caller.hang_up()

    with RedisProcess() as redis, own_line(2, OFFHOOK_REDIS_URL=redis.url) as line:
        return _place(line, caller, watch, stop_redis)


async def _call_anew(phone: SipGateway, line: GatewayProcess) -> PlacedCall | None:
    """A second call, until it was greeted; None if it was refused."""
    try:
        return await place_call(phone, line.uri, ScriptedCaller(()), CALL_LIMIT_S)
    except (CallRefused, TimeoutError):
        return None


def _seconds_to_record(redis: RedisProcess, call_id: str) -> float | None:
    """How long it takes until the call's record is there; None if it does not come."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + RECORD_TIMEOUT_S:
        if redis.get(f"offhook:session:{call_id}"):
            return time.monotonic() - began_s
        time.sleep(LOOK_S)
    return None
