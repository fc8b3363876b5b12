"""A call's sound on disk, and with consent: nothing is kept before the caller was told and could refuse."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent import session as module
from agent.call_recording import MAX_DIGITS
from agent.consent import ConsentRules
from agent.errors import EndReason
from agent.recording import Recorder
from agent.slot import WorkerLost
from telephony.endpoint import FRAME_SAMPLES, EndpointEventKind, path_samples
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
        async with asyncio.timeout(5):
            while not is_empty(tmp_path):  # noqa: ASYNC110  # before the call is over
                await asyncio.sleep(0.01)
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


async def test_a_caller_who_never_stops_pressing_does_not_fill_the_sidecar(tmp_path: Path) -> None:
    scene = Scene(silent)
    scene.recorder = Recorder(tmp_path, "abc", "wav")
    async with running(scene) as task:
        for _ in range(6):
            for _ in range(200):
                scene.endpoint.happen(EndpointEventKind.DTMF, digit="1")
            await settle()
        await hang_up(scene)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    assert len(json.loads(scene.recorder.sidecar_path.read_text())["dtmf"]) == MAX_DIGITS


@pytest.mark.parametrize("way", ["held", "muted"])
async def test_an_announcement_that_could_not_be_heard_was_not_said(tmp_path: Path, way: str) -> None:
    scene = a_scene(tmp_path)
    async with running(scene) as task:
        assert scene.latest is not None
        await scene.frames(1)
        setattr(scene.latest._duplex, f"is_{way}", True)
        await scene.frames(4)
        setattr(scene.latest._duplex, f"is_{way}", False)
        await scene.frames(40, SPEECH)
        await hang_up(scene)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    assert is_empty(tmp_path)


async def test_a_recording_and_its_sidecar_are_left_behind(tmp_path: Path) -> None:
    said = {3: Answer(SPEECH, text=12), 4: Answer(SPEECH)}
    scene = Scene(lambda number, pcm: said.get(number, Answer()))
    scene.recorder = Recorder(tmp_path, "abc", "flac")
    async with running(scene) as task:
        await scene.frames(4, SPEECH)
        scene.endpoint.happen(EndpointEventKind.DTMF, digit="#")
        await settle()
        await scene.frames(6)
        scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    audio, _ = soundfile.read(scene.recorder.path)
    assert audio.shape == (10 * FRAME_SAMPLES, 2)
    np.testing.assert_allclose(audio[:FRAME_SAMPLES, 0], SPEECH, atol=1e-4)
    lag = path_samples(scene.endpoint.stats().codec)
    assert lag > 0
    np.testing.assert_allclose(audio[lag:, 1], scene.endpoint.heard_by_caller[: len(audio) - lag], atol=1e-4)
    told = json.loads(scene.recorder.sidecar_path.read_text())
    assert told["consent"] is True and told["end_reason"] == "caller_hung_up"
    assert [word["text"] for word in told["words"]] == ["hello"]
    assert told["dtmf"] == [{"at_s": 0.32, "digit": "#"}]
    assert (told["call_id"], told["transport"], told["caller_hash"]) == ("abc", "sip", "0123456789abcdef")
    assert "15550100" not in scene.recorder.sidecar_path.read_text()
    assert scene.latest is not None
    live = scene.latest.live()
    assert live.recording_id == scene.recorder.path.stem and live.audio_s == pytest.approx(0.8)
    assert [word.text for word in live.view.since().words] == ["hello"]
    assert max(live.view.since().caller_dbfs) > -20 > live.view.since().caller_dbfs[-1]
