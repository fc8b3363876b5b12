"""A call over real SIP to a cascade, its ear in a process of its own; what follows when that dies."""

import asyncio
import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest

from agent.bench_gateway import GatewayProcess
from agent.cascade.ear_process import EarLost, RemoteEar
from agent.energy_gate import Pcm
from agent.evaluation.placed_call import PlacedCall, calling_end, place_call
from agent.evaluation.script import Manner, ScriptedCaller, Step, speak_step
from agent.settings import CascadeSettings
from agent.wire import FRAME_SAMPLES
from model.phrasings import Intent
from model.requests import Request
from tests.agent.cascade.conftest import CALLER

SERVED = {"OFFHOOK_WORKER__ENGINE": "cascade", "OFFHOOK_WORKER__SLOTS": "1", "OFFHOOK_LOG__FORMAT": "json"}
ANSWERED_FRAMES = 10


def test_an_ear_whose_process_dies_says_so_and_comes_back() -> None:
    ear = RemoteEar(CascadeSettings(stt_url="http://127.0.0.1:9/v1", stt_model="m"))  # loads no recogniser
    ear.wait_ready()
    silence = np.zeros(FRAME_SAMPLES, np.float32)
    assert [heard.speech_s for heard in ear.work(silence)] == [0.0]
    pid = ear.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EarLost, match="process ended"):
        list(ear.work(silence))
    assert len(list(ear.work(silence))) == 1 and ear.pid != pid
    ear.close()
    assert ear.pid is None


@pytest.mark.loopback
@pytest.mark.redis
@pytest.mark.alone
@pytest.mark.timeout(120)
def test_a_caller_over_sip_who_speaks_into_the_greeting_is_answered(tmp_path: Path) -> None:
    asked = Step(Request(Intent.WHERE, "where is the shop"), Manner.CUE)
    spoken = speak_step(asked, CALLER, random.Random(1), rate=1.0, pitch=1.0, level_dbfs=-24.0)
    caller = ScriptedCaller([spoken])
    caller.cue()
    num_loud = 0  # frames of the agent's since the question

    def speaker(heard: Pcm) -> Pcm | None:
        nonlocal num_loud
        said = caller(heard)
        has_asked = bool(caller.said) and said is not None and not said.any()
        num_loud += has_asked and np.abs(heard).max() > 0.05
        return None if num_loud > ANSWERED_FRAMES else said

    async def call(uri: str) -> PlacedCall:
        async with calling_end() as phone:
            return await place_call(phone, uri, speaker, 20.0)

    with GatewayProcess({**SERVED, "OFFHOOK_RECORDING__FOLDER": str(tmp_path)}) as line:
        placed = asyncio.run(call(line.uri))
        line.wait_until_idle()
        (ended,) = line.events("call_ended")
    assert placed.is_ended_by_us and num_loud > ANSWERED_FRAMES, "it says something after the question"
    assert ended["frames_answered"] >= ended["frames_heard"] - 1
    (sidecar,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    by_side = {
        side: [word["text"].lower() for word in sidecar["words"] if word["speaker"] == side]
        for side in ("caller", "agent")
    }
    assert "shop" in by_side["caller"], sidecar["words"]
    assert " ".join(by_side["agent"]).rpartition("we are at")[1], "its words answer the question"
