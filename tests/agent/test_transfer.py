"""Transfers in a session, with every way they can go wrong: the caller is never lost."""

import asyncio

import numpy as np
import pytest

from agent import metrics
from agent import session as module
from agent.errors import EndReason
from agent.hold_music import ComfortTone
from agent.outbound import Refusal
from agent.session import Session
from agent.transfer import TransferOrder, TransferResult
from agent.transfer_settings import TransferSettings
from telephony.endpoint import FRAME_SAMPLES, EndpointEventKind
from telephony.errors import CallEnded, CallRefused, TelephonyError
from tests.agent.test_session import SPEECH, TARGET, Scene, end_of, running, silent
from tests.fakes import NOBODY, TRANSFER, Answer, FakeEndpoint, settle

BLIND = TransferOrder(TARGET)
ATTENDED = TransferOrder(TARGET, "attended", "A caller wants a latte.")
QUICK = TransferSettings(accept_timeout_s=0.05, answer_timeout_s=0.1)


def count(result: TransferResult) -> float:
    labels = {"result": result.value}
    return metrics.REGISTRY.get_sample_value("offhook_transfers_total", labels) or 0.0


def latest(scene: Scene) -> Session:
    assert scene.latest is not None
    return scene.latest


async def begun(scene: Scene, order: TransferOrder) -> None:
    """Ask for it, and let the agent come to an end of what it says."""
    assert scene.latest is not None and scene.latest.transfer(order)
    await settle()
    assert scene.latest.record.transfer == "trying"
    assert not scene.latest.transfer(BLIND)  # one at a time
    await scene.frames(14)


async def is_back(scene: Scene, result: TransferResult) -> None:
    """The caller is the agent's again."""
    await settle()
    assert scene.latest is not None and scene.latest.record.transfer == result.value
    assert scene.slot.forced == [NOBODY] and scene.endpoint.hung_up is None
    await scene.frames(4)
    assert np.abs(scene.endpoint.heard_by_caller[-FRAME_SAMPLES:]).max() > 0.1
    assert scene.latest.transfer(BLIND)  # and may be asked for again


def speaking_later(number: int, pcm: object) -> Answer:
    return Answer(SPEECH if number > 14 else None)


@pytest.mark.parametrize("is_accepted", [False, True])
async def test_a_refer_that_nobody_answers_or_that_has_no_outcome_gives_the_caller_back(
    is_accepted: bool,
) -> None:
    scene = Scene(speaking_later)
    scene.desk.settings = QUICK
    async with running(scene):
        await begun(scene, BLIND)
        assert scene.endpoint.referred_to == [TARGET]
        if is_accepted:
            scene.endpoint.happen(EndpointEventKind.TRANSFER, code=100)
        await given_up(scene)
        await is_back(scene, TransferResult.NOT_ANSWERED)
        assert scene.desk.settled == [0.0]


async def given_up(scene: Scene) -> None:
    """Let real time pass until the agent is told that nobody is free."""
    async with asyncio.timeout(5):
        while not scene.slot.forced:  # noqa: ASYNC110 - a fake slot tells no event
            await asyncio.sleep(0.01)


async def test_a_target_that_takes_the_call_after_we_had_given_up_has_the_caller() -> None:
    scene = Scene(silent)
    scene.desk.settings = QUICK
    async with running(scene) as task:
        await begun(scene, BLIND)
        await given_up(scene)
        scene.endpoint.happen(EndpointEventKind.TRANSFER, code=200)
        assert await end_of(task) is EndReason.TRANSFERRED


@pytest.mark.parametrize(
    ("has_accepted", "reason"), [(True, EndReason.TRANSFERRED), (False, EndReason.CALLER_HUNG_UP)]
)
async def test_a_far_end_that_hangs_up_meanwhile_has_followed_or_is_gone(
    has_accepted: bool, reason: EndReason
) -> None:
    scene = Scene(silent)
    async with running(scene) as task:
        await begun(scene, BLIND)
        if has_accepted:
            scene.endpoint.happen(EndpointEventKind.TRANSFER, code=100)
            await settle()
        scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
        assert await end_of(task) is reason


async def test_what_the_policy_forbids_is_not_tried() -> None:
    scene = Scene(speaking_later)
    scene.desk.refusal = Refusal.NOT_ALLOWED
    before = count(TransferResult.NOT_ALLOWED)
    async with running(scene):
        assert scene.latest is not None and scene.latest.transfer(BLIND)
        await scene.frames(14)
        assert count(TransferResult.NOT_ALLOWED) == before + 1
        await is_back(scene, TransferResult.NOT_ALLOWED)
        assert scene.endpoint.referred_to == []


async def test_a_caller_whom_nobody_takes_while_we_stop_is_told_and_hung_up_on() -> None:
    scene = Scene(silent)
    scene.desk.settings = QUICK
    async with running(scene) as task:
        await begun(scene, TransferOrder(TARGET, is_last=True))
        await given_up(scene)
        assert scene.slot.forced == [NOBODY]
        await settle()
        assert not task.done(), "first it hears why"
        await scene.frames(8)
        assert await end_of(task) is EndReason.SHUTTING_DOWN


async def test_the_caller_waits_with_music_is_announced_and_joined_and_the_slot_is_free() -> None:
    scene = Scene(silent)
    scene.desk.music = np.full(2 * FRAME_SAMPLES, 0.2, np.float32)
    target = FakeEndpoint(scene.clock, "target")
    async with running(scene) as task:
        await begun(scene, ATTENDED)
        assert np.abs(scene.endpoint.heard_by_caller[-FRAME_SAMPLES:]).min() == np.float32(0.2)
        scene.desk.outcome.set_result(target)
        await settle()
        assert scene.desk.spoken == ["A caller wants a latte."]
        assert scene.desk.joined == [(scene.endpoint, target)]
        assert scene.slot.num_releases == 1 and scene.num_let_go == 1
        assert not task.done() and scene.endpoint.hung_up is None
        scene.clock.advance(0.2)
        target.happen(EndpointEventKind.ENDED, code=200)
        assert await end_of(task) is EndReason.TRANSFERRED
        assert scene.endpoint.hung_up == (200, "")
        assert scene.desk.settled == [pytest.approx(0.2)]


@pytest.mark.parametrize("who", ["caller", "operator", "clock"])
async def test_after_a_handover_the_target_is_hung_up_on_when(who: str) -> None:
    scene, target = Scene(silent), None
    async with running(scene) as task:
        await begun(scene, ATTENDED)
        target = FakeEndpoint(scene.clock, "target")
        scene.desk.outcome.set_result(target)
        await settle()
        assert scene.latest is not None and target.hung_up is None
        if who == "caller":
            scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
        elif who == "operator":
            scene.latest.hang_up(EndReason.OPERATOR_HUNG_UP)
        assert await end_of(task) is EndReason.TRANSFERRED  # the clock: its time is used up, 0.4 s
        assert target.hung_up == (200, "")


async def test_after_a_handover_a_caller_of_whom_nothing_comes_costs_nothing_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WATCH_S", 0.001)
    scene = Scene(silent, media_timeout_s=20)
    scene.desk.max_s = 60.0
    async with running(scene) as task:
        await begun(scene, ATTENDED)
        target = FakeEndpoint(scene.clock, "target")
        scene.desk.outcome.set_result(target)
        await settle()
        assert target.hung_up is None
        scene.clock.advance(21)
        assert await end_of(task) is EndReason.TRANSFERRED
        assert target.hung_up == (200, "")


async def test_whoever_ends_a_call_just_as_it_is_handed_over_is_obeyed() -> None:
    scene = Scene(silent)
    loop = asyncio.get_running_loop()
    scene.desk.on_join = lambda: loop.call_soon(latest(scene).hang_up, EndReason.SHUTTING_DOWN)
    async with running(scene) as task:
        await begun(scene, ATTENDED)
        target = FakeEndpoint(scene.clock, "target")
        scene.desk.outcome.set_result(target)
        await settle()
        assert target.hung_up == (200, "")
        assert await end_of(task) is EndReason.TRANSFERRED


async def test_a_target_who_is_told_and_then_gone_has_cost_the_time_it_listened() -> None:
    def hang_up() -> None:
        scene.clock.advance(0.2)
        raise CallEnded("the target has hung up")

    scene = Scene(speaking_later)
    scene.desk.on_speak = hang_up
    async with running(scene):
        await begun(scene, ATTENDED)
        scene.desk.outcome.set_result(FakeEndpoint(scene.clock, "target"))
        await is_back(scene, TransferResult.FAILED)
        assert scene.desk.settled == [pytest.approx(0.2)]


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (CallRefused(486, "Busy"), TransferResult.NOT_ANSWERED),
        (CallRefused(403, "No"), TransferResult.REFUSED),
        (TelephonyError("no line"), TransferResult.FAILED),
        (TimeoutError(), TransferResult.NOT_ANSWERED),
    ],
)
async def test_a_target_that_does_not_take_the_call_leaves_the_caller_with_the_agent(
    error: Exception, result: TransferResult
) -> None:
    scene = Scene(speaking_later)
    async with running(scene):
        await begun(scene, ATTENDED)
        scene.desk.outcome.set_exception(error)
        await is_back(scene, result)
        assert scene.desk.joined == [] and scene.desk.settled == [0.0]


async def test_a_caller_who_hangs_up_while_the_target_rings_leaves_no_call_behind() -> None:
    scene = Scene(silent)
    before = count(TransferResult.CALLER_GONE)
    async with running(scene) as task:
        await begun(scene, ATTENDED)
        scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    assert scene.desk.outcome.cancelled() and scene.desk.settled == [0.0]
    assert count(TransferResult.CALLER_GONE) == before + 1


async def test_what_the_model_wants_while_the_caller_waits_is_no_wish() -> None:
    said = {8: TRANSFER, 12: TRANSFER}
    scene = Scene(lambda number, pcm: Answer(text=said.get(number, 3)))
    async with running(scene):
        await begun(scene, BLIND)
        assert scene.slot.forced == [] and scene.endpoint.referred_to == [TARGET]


async def test_without_music_the_caller_hears_that_somebody_is_there() -> None:
    scene = Scene(silent)
    async with running(scene):
        await begun(scene, ATTENDED)
        heard = len(scene.endpoint.heard_by_caller)
        await scene.frames(ComfortTone.PERIOD_FRAMES + 2)
        assert np.abs(scene.endpoint.heard_by_caller[heard:]).max() > 0.01
