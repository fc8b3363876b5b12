"""A call over real SIP to a cascade, its ear in a process of its own; what follows when that dies."""

import asyncio
import os
import random
import signal

import numpy as np
import pytest

from agent.bench_gateway import GatewayProcess
from agent.cascade.ear_process import EarLost, RemoteEar
from agent.evaluation.judge import Judge
from agent.evaluation.outcome import judge_call, place_turns
from agent.evaluation.placed_call import PlacedCall, calling_end, place_call
from agent.evaluation.script import ScriptedCaller, Step, speak_step
from agent.settings import CascadeSettings
from agent.wire import FRAME_SAMPLES
from model.phrasings import Intent
from model.requests import Request
from tests.agent.cascade.conftest import CALLER

SERVED = {"OFFHOOK_WORKER__ENGINE": "cascade", "OFFHOOK_WORKER__SLOTS": "1", "OFFHOOK_LOG__FORMAT": "json"}


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
@pytest.mark.timeout(120)
def test_a_caller_over_sip_is_greeted_and_answered() -> None:
    asked = Step(Request(Intent.WHERE, "where is the shop"))
    caller = ScriptedCaller(
        [speak_step(asked, CALLER, random.Random(1), rate=1.0, pitch=1.0, level_dbfs=-24.0)]
    )

    async def call(uri: str) -> PlacedCall:
        async with calling_end() as phone:
            return await place_call(phone, uri, caller, 9.5)

    with GatewayProcess(SERVED) as line:
        placed = asyncio.run(call(line.uri))
        line.wait_until_idle()
        (ended,) = line.events("call_ended")
    left, right = placed.tape.channels()
    (turn,) = judge_call(0, "", place_turns(caller.said, left), right, Judge()).turns
    assert turn.is_right, turn
    assert turn.gap_s is not None and 0.3 < turn.gap_s < 5.0
    assert ended["frames_answered"] >= ended["frames_heard"] - 1
