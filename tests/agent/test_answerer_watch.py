"""What a session does when an answering machine takes its call."""

import numpy as np
import pytest

from agent import metrics
from agent.errors import EndReason
from agent.machine_detection import Answerer, MachineDetector
from telephony.endpoint import FRAME_SAMPLES, EndpointEventKind
from tests.agent.test_session import Scene, end_of, running, silent
from tests.fakes import settle
from tests.signals import tone

BEEP = tone(1000, 5 * FRAME_SAMPLES / 24_000, 24_000, 0.2).reshape(5, FRAME_SAMPLES)
QUIET = np.zeros(FRAME_SAMPLES, np.float32)


def count(answerer: Answerer) -> float:
    labels = {"result": answerer.value}
    return metrics.REGISTRY.get_sample_value("offhook_answerers_total", labels) or 0.0


def a_scene(*, hangs_up: bool = False) -> Scene:
    scene = Scene(silent)
    scene.detector, scene.hangs_up_on_machines, scene.greeting = MachineDetector(), hangs_up, "hello"
    return scene


async def test_a_call_that_is_meant_for_persons_ends_at_the_beep() -> None:
    before = count(Answerer.MACHINE)
    scene = a_scene(hangs_up=True)
    async with running(scene) as task:
        for frame in BEEP:
            await scene.frames(1, frame)
        assert await end_of(task) is EndReason.MACHINE_ANSWERED
    assert scene.latest is not None and scene.latest.record.answered_by == "machine"
    assert count(Answerer.MACHINE) == before + 1


async def test_a_message_begins_with_the_greeting_after_the_beep() -> None:
    scene = a_scene()
    async with running(scene):
        for frame in BEEP:
            await scene.frames(1, frame)
        assert scene.slot.said == [[12]]  # at the answer
        await scene.frames(3, QUIET)
        assert scene.slot.said == [[12], [12]]
        await scene.frames(3, QUIET)
        assert len(scene.slot.said) == 2


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_who_cannot_be_told_apart_is_talked_to(hangs_up: bool) -> None:
    scene = a_scene(hangs_up=hangs_up)
    async with running(scene) as task:
        await scene.frames(60, QUIET)
        assert scene.latest is not None and scene.latest.record.answered_by == "uncertain"
        scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
        await settle()
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
