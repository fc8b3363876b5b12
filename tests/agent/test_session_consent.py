"""Recording with consent, in a session: nothing is kept before the caller was told and had time to refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent import session as module
from agent.consent import ConsentRules
from agent.errors import EndReason
from agent.recording import Recorder
from agent.slot import WorkerLost
from telephony.endpoint import FRAME_SAMPLES, EndpointEventKind
from tests.agent.test_session import SPEECH, Scene, end_of, running, silent
from tests.fakes import Answer, FakeSlot, Pcm, settle

ANNOUNCED = {2: Answer(text=12), 3: Answer(text=13)}  # the sentence's two tokens, as they are said


def saying(number: int, pcm: Pcm) -> Answer:
    return ANNOUNCED.get(number, Answer())


@pytest.fixture(autouse=True)
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_S", 0.0)


def a_scene(folder: Path) -> Scene:
    scene = Scene(saying)
    scene.recorder = Recorder(folder, "abc", "wav")
    scene.consent = ConsentRules("hello latte", "9", window_s=1.0)
    return scene


def is_empty(folder: Path) -> bool:
    return list(folder.iterdir()) == []


async def hang_up(scene: Scene) -> None:
    scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
    await settle()


async def test_the_recording_begins_after_the_announcement_and_the_time_to_refuse(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    assert scene.recorder is not None
    async with running(scene) as task:
        assert scene.slot.said == [[12, 13]]
        await scene.frames(4, SPEECH)
        assert scene.latest is not None and scene.latest.live().recording_id is None
        await scene.frames(20)
        assert scene.latest.live().recording_id == scene.recorder.path.stem
        await scene.frames(3, 0.5 * SPEECH)
        await hang_up(scene)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    audio, _ = soundfile.read(scene.recorder.path)
    assert 3 * FRAME_SAMPLES <= len(audio) <= 16 * FRAME_SAMPLES
    told = json.loads(scene.recorder.sidecar_path.read_text())
    assert told["consent"] is True and 1.2 < told["began_s"] < 1.8
    assert told["words"] == []  # those of the announcement were said before
    np.testing.assert_allclose(audio[-3 * FRAME_SAMPLES :, 0], np.tile(0.5 * SPEECH, 3), atol=1e-4)


@pytest.mark.parametrize("frames_before", [1, 6, 30])
async def test_who_presses_the_digit_is_not_recorded(tmp_path: Path, frames_before: int) -> None:
    scene = a_scene(tmp_path)
    async with running(scene) as task:
        await scene.frames(frames_before, SPEECH)
        scene.endpoint.happen(EndpointEventKind.DTMF, digit="9")
        await settle()
        await scene.frames(25, SPEECH)
        await hang_up(scene)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    assert is_empty(tmp_path)


async def test_a_call_that_ends_or_loses_its_worker_before_it_was_told_leaves_nothing(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    scene.spare = [FakeSlot(scene.clock, silent, "w1")]
    async with running(scene) as task:
        await scene.frames(3)
        scene.slot.lose(WorkerLost("w0 died"))  # the first word had been said
        await settle()
        await scene.frames(40, SPEECH)
        await hang_up(scene)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    assert is_empty(tmp_path)


async def test_an_announcement_that_another_sentence_replaced_was_not_said(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    async with running(scene) as task:
        assert scene.latest is not None
        await scene.frames(1)
        assert await scene.latest.say("hello latte")
        await scene.frames(40)
        await hang_up(scene)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    assert is_empty(tmp_path)
