"""A call goes on with another slot when its worker dies."""

import pytest

from agent import recovery
from agent.errors import EndReason
from agent.slot import PromptRefused, WorkerLost
from agent.wire import RefusalReason
from telephony.endpoint import FRAME_SAMPLES, EndpointEventKind
from tests.agent.test_session import SPEECH, Scene, counted, end_of, running, silent
from tests.fakes import (
    Answer,
    FakeSlot,
    settle,
)


async def test_a_call_survives_its_worker_and_the_next_slot_knows_what_was_said() -> None:
    scene = Scene(lambda number, pcm: Answer(text=12))
    second = FakeSlot(scene.clock, silent, "w1")
    scene.spare = [second]
    async with running(scene) as task:
        await scene.frames(10, SPEECH)
        scene.slot.lose(WorkerLost("worker w0 died"))
        await settle()
        await scene.frames(3, SPEECH)
        ((history, caller_pcm),) = scene.reclaimed
        assert history.shape == (10, 3) and (history[:, 0] == 12).all()
        assert len(caller_pcm) == 10 * FRAME_SAMPLES
        assert len(second.heard) == 3 and not task.done()
        assert scene.records.saved[-1].worker_id == "w1"
        scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    assert second.num_releases == 1


async def test_no_other_slot_in_time_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "RECOVERY_S", 0.03)
    monkeypatch.setattr(recovery, "RECLAIM_PAUSE_S", 0.005)
    scene = Scene(silent)
    async with running(scene) as task:
        await scene.frames(1)
        scene.slot.lose(WorkerLost("worker w0 died"))
        assert await end_of(task) is EndReason.WORKER_LOST
    assert len(scene.reclaimed) > 1
    assert scene.endpoint.hung_up == (200, "")


async def test_a_worker_lost_before_the_first_answer_is_replaced_by_one_that_greets() -> None:
    scene = Scene(lambda number, pcm: None)
    scene.greeting = "hello"
    second = FakeSlot(scene.clock, silent, "w1")
    scene.spare = [second]
    async with running(scene):
        scene.slot.lose(WorkerLost("worker w0 died"))
        await settle()
    assert second.said == [[12]]


async def test_a_prompt_that_no_worker_takes_ends_the_call_with_its_own_reason() -> None:
    scene, before = Scene(silent), counted(EndReason.PROMPT_REFUSED)
    scene.prompt_refusal = PromptRefused("w1", RefusalReason.PROMPT, "no voice of that name")
    async with running(scene) as task:
        await scene.frames(1)
        scene.slot.lose(WorkerLost("worker w0 died"))
        assert await end_of(task) is EndReason.PROMPT_REFUSED
    assert len(scene.reclaimed) == 1
    assert counted(EndReason.PROMPT_REFUSED) == before + 1
