"""Admission with fakes of our own parts; whole calls are in tests/loopback/test_session_life.py."""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from agent import metrics
from agent.clock import ManualClock
from agent.dial_plan import PlanTree
from agent.dial_plan_file import resolve
from agent.errors import AgentError, EndReason, NoFreeSlot
from agent.frame_phase import BridgeClock
from agent.gateway import Gateway
from agent.settings import Settings
from agent.slot import PromptRefused, WorkerLost
from agent.standin_tokens import StandInTokens
from agent.store import SessionRecord, SlotLease
from agent.wire import RefusalReason
from model.control import CallProfile
from telephony.call_limits import CallLimitSettings
from telephony.endpoint import FRAME_SAMPLES, EndpointEventKind
from telephony.errors import CallEnded
from telephony.sip import GatewayCounts
from tests.fakes import Answer, FakeEndpoint, FakeSlot, settle

PROFILE = CallProfile(voice="tone")


class Invite:
    """An INVITE; `endpoint` None: the caller cancels before our 200."""

    transport, trunk = "sip", ""
    headers: Mapping[str, str] = MappingProxyType({})
    caller, called, call_id = "sip:+15550100@192.0.2.7", "sip:order@127.0.0.1", "sip-1"
    source = "192.0.2.7"

    def __init__(self, endpoint: FakeEndpoint | None) -> None:
        self.endpoint = endpoint
        self.has_rung = False
        self.rejected: tuple[int, Mapping[str, str] | None] | None = None

    def ring(self) -> None:
        self.has_rung = True

    async def answer(self) -> FakeEndpoint:
        if self.endpoint is None:
            raise CallEnded("cancelled")
        return self.endpoint

    def reject(self, code: int, reason: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.rejected = (code, headers)


class Sip:
    """A SIP side whose INVITEs come from a queue."""

    tick, tick_at_s = 7, 1000.0
    udp_port, tcp_port = 5060, 5061

    def __init__(self) -> None:
        self.invites: asyncio.Queue[Invite] = asyncio.Queue()
        self.is_full = self.is_draining = False

    async def incoming(self) -> Any:
        while True:
            yield await self.invites.get()

    def set_full(self, is_full: bool) -> None:
        self.is_full = is_full

    def drain(self) -> None:
        self.is_full = self.is_draining = True

    def counts(self) -> GatewayCounts:
        return GatewayCounts(1, 63, 2, 3)


class TickedSlot(FakeSlot):
    """A slot whose worker ticks at multiples of 80 ms."""

    def next_tick_s(self, after_s: float) -> float:
        return after_s + 0.03


class Pool:
    """Workers by name, each with the slots it has left, or the error it answers a claim with."""

    crash_looping: Sequence[str] = ()
    berths: Sequence[Any] = ()

    def __init__(self, workers: dict[str, list[TickedSlot] | AgentError]) -> None:
        self.workers = workers
        self.claims: list[tuple[str, int, bool]] = []
        self.profiles: list[CallProfile] = []

    @property
    def links(self) -> list[str]:
        return list(self.workers)

    @property
    def num_slots_free(self) -> int:
        return sum(1 if isinstance(slots, AgentError) else len(slots) for slots in self.workers.values())

    def candidates(self, model: str = "") -> list[tuple[str, int]]:
        return [(name, 1) for name, slots in self.workers.items() if slots]

    async def claim(self, call_id: str, *, fencing: int, worker_id: str, **claim: Any) -> TickedSlot:
        self.claims.append((worker_id, fencing, claim["history"] is not None))
        self.profiles.append(claim["profile"])
        slots = self.workers[worker_id]
        if isinstance(slots, AgentError):
            raise slots
        return slots.pop()


class Leases:
    """A store that leases the first candidate."""

    is_up = True

    def __init__(self) -> None:
        self.held: list[SlotLease] = []
        self.saved: list[SessionRecord] = []
        self._fencing = 0

    async def lease_slot(self, call_id: str, candidates: Sequence[tuple[str, int]]) -> SlotLease:
        self._fencing += 1
        lease = SlotLease(candidates[0][0], call_id, self._fencing, is_confirmed=True)
        self.held.append(lease)
        return lease

    def release_slot(self, lease: SlotLease) -> None:
        self.held = [one for one in self.held if one != lease]

    def save(self, record: SessionRecord) -> None:
        self.saved.append(record)


class Scene:
    """A gateway that serves."""

    def __init__(
        self, workers: dict[str, list[TickedSlot] | AgentError], limits: CallLimitSettings | None = None
    ) -> None:
        self.sip, self.pool, self.store = Sip(), Pool(workers), Leases()
        self.stop, self.stop_now = asyncio.Event(), asyncio.Event()
        parts = cast(tuple[Any, Any, Any], (self.sip, self.pool, self.store))
        settings = Settings(limits=limits or CallLimitSettings())
        self.gateway = Gateway(settings, *parts, StandInTokens(), BridgeClock(), PROFILE)
        self._before = {reason: self._count(reason) for reason in EndReason}

    async def __aenter__(self) -> "Scene":
        self._task = asyncio.create_task(self.gateway.serve(self.stop, self.stop_now))
        await settle()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop_now.set()
        self.stop.set()
        await asyncio.wait_for(self._task, 5)
        assert self.store.held == []
        assert self.gateway.calls() == []

    async def call(self, endpoint: FakeEndpoint | None) -> Invite:
        invite = Invite(endpoint)
        self.sip.invites.put_nowait(invite)
        await settle()
        return invite

    def ended(self, reason: EndReason) -> float:
        return self._count(reason) - self._before[reason]

    @staticmethod
    def _count(reason: EndReason) -> float:
        labels = {"direction": "inbound", "transport": "sip", "result": reason.value}
        return metrics.REGISTRY.get_sample_value("offhook_calls_total", labels) or 0.0


def a_slot(worker_id: str = "w0") -> TickedSlot:
    return TickedSlot(ManualClock(), lambda number, pcm: Answer(), worker_id)


async def test_a_call_gets_a_slot_and_gives_it_back() -> None:
    slot, endpoint = a_slot(), FakeEndpoint()
    async with Scene({"w0": [slot]}) as scene:
        invite = await scene.call(endpoint)
        assert invite.has_rung and invite.rejected is None
        (record,) = scene.gateway.calls()
        assert (record.worker_id, record.direction, record.caller) == ("w0", "inbound", Invite.caller)
        assert scene.pool.claims == [("w0", 1, False)]
        assert scene.gateway.readiness().degraded == ["every slot is taken"]
        endpoint.happen(EndpointEventKind.ENDED, code=200)
        await settle()
        assert scene.gateway.calls() == [] and scene.store.held == []
    assert slot.num_releases >= 1
    assert scene.ended(EndReason.CALLER_HUNG_UP) == 1


class SlowInvite(Invite):
    """A caller whose answer takes its time."""

    def __init__(self, endpoint: FakeEndpoint) -> None:
        super().__init__(endpoint)
        self.may_answer = asyncio.Event()

    async def answer(self) -> FakeEndpoint:
        await self.may_answer.wait()
        return await super().answer()


async def test_a_call_that_is_answered_while_the_others_are_ended_ends_with_them() -> None:
    invite = SlowInvite(FakeEndpoint())
    async with Scene({"w0": [a_slot()]}) as scene:
        scene.sip.invites.put_nowait(invite)
        await settle()
        assert invite.has_rung
        scene.stop.set()
        scene.stop_now.set()
        await settle()
        invite.may_answer.set()
    assert scene.ended(EndReason.SHUTTING_DOWN) == 1  # and the scene has waited for it


async def test_a_call_that_is_answered_while_we_drain_is_waited_for_and_not_cut() -> None:
    endpoint = FakeEndpoint()
    invite = SlowInvite(endpoint)
    async with Scene({"w0": [a_slot()]}) as scene:
        scene.sip.invites.put_nowait(invite)
        await settle()
        scene.stop.set()
        await settle()
        assert scene.sip.is_draining
        invite.may_answer.set()
        await settle()
        assert len(scene.gateway.calls()) == 1 and endpoint.hung_up is None
        endpoint.happen(EndpointEventKind.ENDED, code=200)
        await settle()
        assert scene._task.done(), "the last call is over: there is nothing to wait for"
    assert scene.ended(EndReason.CALLER_HUNG_UP) == 1


async def test_a_caller_over_a_cap_takes_no_slot() -> None:
    endpoint = FakeEndpoint()
    async with Scene({"w0": [a_slot(), a_slot()]}, CallLimitSettings(calls_per_line=1)) as scene:
        assert (await scene.call(endpoint)).rejected is None
        second = await scene.call(FakeEndpoint())
        assert second.rejected == (486, None) and not second.has_rung
        assert len(scene.pool.claims) == 1
        endpoint.happen(EndpointEventKind.ENDED, code=200)
        await settle()
        assert (await scene.call(FakeEndpoint())).rejected is None, "the line is free again"
    assert scene.ended(EndReason.LINE_FULL) == 1


async def test_watchers_see_the_call_while_it_lives_and_that_it_ended() -> None:
    endpoint = FakeEndpoint()
    async with Scene({"w0": [a_slot()]}) as scene:
        await scene.call(endpoint)
        for _ in range(2):  # the first is shortened to the worker's phase
            endpoint.frame(np.full(FRAME_SAMPLES, 0.1, np.float32))
        await settle()
        (live,) = scene.gateway.live()
        assert live.view.since().caller_dbfs[-1] == -20 and live.record.transport == "sip"
        assert scene.gateway.ended() == []
        endpoint.happen(EndpointEventKind.ENDED, code=200)
        await settle()
        ((record, recording_id),) = scene.gateway.ended()
        assert (record.call_id, record.end_reason) == (live.record.call_id, EndReason.CALLER_HUNG_UP)
        assert recording_id is None and scene.gateway.live() == []


async def test_its_health_says_what_readiness_says_and_who_may_call() -> None:
    async with Scene({}) as scene:
        health = scene.gateway.health()
        assert health.reasons == ["no worker is ready"] and not health.is_ready and health.is_redis_up
        assert health.sip is not None
        assert (health.sip.udp_port, health.sip.num_foreign, health.sip.allowed_peers) == (5060, 2, ())


async def test_without_a_slot_the_caller_hears_503_and_no_ringing() -> None:
    async with Scene({}) as scene:
        assert scene.gateway.readiness().reasons == ["no worker is ready"]
        invite = await scene.call(FakeEndpoint())
        assert invite.rejected == (503, {"Retry-After": "5"}) and not invite.has_rung
        assert scene.sip.is_full
    assert scene.ended(EndReason.NO_FREE_SLOT) == 1


async def test_a_worker_that_refuses_is_passed_over() -> None:
    slot = a_slot("w1")
    async with Scene({"w0": NoFreeSlot("another gateway was faster"), "w1": [slot]}) as scene:
        invite = await scene.call(FakeEndpoint())
        assert invite.rejected is None
        assert [claim[0] for claim in scene.pool.claims] == ["w0", "w1"]
        assert [lease.worker_id for lease in scene.store.held] == ["w1"]


async def test_a_caller_who_cancels_leaves_nothing_behind() -> None:
    slot = a_slot()
    async with Scene({"w0": [slot]}) as scene:
        await scene.call(None)
        assert slot.num_releases == 1 and scene.store.held == []
    assert scene.ended(EndReason.CALLER_CANCELLED) == 1


async def test_a_slot_is_claimed_anew_with_the_history_when_a_worker_dies() -> None:
    slot, second, endpoint = a_slot(), a_slot("w1"), FakeEndpoint()
    async with Scene({"w0": [slot]}) as scene:
        await scene.call(endpoint)
        for _ in range(3):
            endpoint.frame()
            await settle()
        scene.pool.workers = {"w1": [second]}
        slot.lose(WorkerLost("w0 died"))
        await settle()
        assert scene.pool.claims == [("w0", 1, False), ("w1", 2, True)]
        assert scene.pool.profiles == [PROFILE, PROFILE]
        assert [lease.worker_id for lease in scene.store.held] == ["w1"]
        assert scene.gateway.calls()[0].worker_id == "w1"


async def test_a_prompt_that_the_model_refuses_is_told_to_the_caller_as_our_fault() -> None:
    refusal = PromptRefused("w0", RefusalReason.PROMPT, "no voice of that name")
    async with Scene({"w0": refusal}) as scene:
        invite = await scene.call(FakeEndpoint())
        assert invite.rejected == (500, None) and not invite.has_rung
        assert scene.store.held == []
    assert scene.ended(EndReason.PROMPT_REFUSED) == 1
    async with Scene({"w0": refusal, "w1": [a_slot("w1")]}) as scene:  # which holds another model
        invite = await scene.call(FakeEndpoint())
        assert invite.rejected is None and scene.gateway.calls()[0].worker_id == "w1"


async def test_a_live_call_is_told_what_to_say() -> None:
    slot = a_slot()
    async with Scene({"w0": [slot]}) as scene:
        await scene.call(FakeEndpoint())
        (record,) = scene.gateway.calls()
        assert await scene.gateway.say(record.call_id, "two words")
        assert await scene.gateway.silence(record.call_id, 0.08)
        assert await scene.gateway.say("nobody", "two words") is None
        assert await scene.gateway.silence("nobody", 1) is None
    assert slot.silences == [1] and [len(tokens) for tokens in slot.said] == [2]


async def test_the_operator_hangs_up_by_id() -> None:
    endpoint = FakeEndpoint()
    async with Scene({"w0": [a_slot()]}) as scene:
        await scene.call(endpoint)
        assert not scene.gateway.hang_up("nobody")
        assert scene.gateway.hang_up(scene.gateway.calls()[0].call_id)
        await settle()
        assert endpoint.hung_up == (200, "")
    assert scene.ended(EndReason.OPERATOR_HUNG_UP) == 1


async def test_a_stop_refuses_new_calls_and_ends_live_ones() -> None:
    endpoint = FakeEndpoint()
    async with Scene({"w0": [a_slot(), a_slot()]}) as scene:
        await scene.call(endpoint)
        scene.stop.set()
        await settle()
        assert scene.gateway.readiness().reasons == ["stopping"] and scene.sip.is_full
        late = await scene.call(FakeEndpoint())
        assert late.rejected is not None and late.rejected[0] == 503
        assert endpoint.hung_up is None  # draining
        scene.stop_now.set()
        await settle()
        assert endpoint.hung_up is not None
    assert scene.ended(EndReason.SHUTTING_DOWN) == 1


class Book:
    """A dial plan in force, which never changes by itself."""

    def __init__(self, **tree: Any) -> None:
        self.plan = resolve(PlanTree.model_validate(tree), Settings(), StandInTokens())

    async def watch(self, apply: Any) -> None:
        await asyncio.Event().wait()


class PlannedScene(Scene):
    """A gateway with a dial plan."""

    def __init__(self, workers: dict[str, list[TickedSlot] | AgentError], **tree: Any) -> None:
        super().__init__(workers)
        parts = cast(tuple[Any, Any, Any], (self.sip, self.pool, self.store))
        book = cast(Any, Book(**tree))
        self.gateway = Gateway(Settings(), *parts, StandInTokens(), BridgeClock(), PROFILE, plans=book)


async def test_a_call_is_answered_as_its_line_says_and_others_hear_404() -> None:
    lines = [{"called": "order", "voice": "warm", "transfer_target": "sip:desk@192.0.2.7"}]
    async with PlannedScene({"w0": [a_slot()]}, lines=lines) as scene:
        endpoint = FakeEndpoint()
        invite = await scene.call(endpoint)
        assert invite.rejected is None and scene.pool.profiles == [CallProfile(voice="warm")]
        stranger = Invite(FakeEndpoint())
        stranger.called = "sip:sales@127.0.0.1"
        scene.sip.invites.put_nowait(stranger)
        await settle()
        assert stranger.rejected == (404, None) and not stranger.has_rung
        endpoint.happen(EndpointEventKind.ENDED, code=200)
        await settle()
    assert scene.ended(EndReason.UNKNOWN_LINE) == 1
