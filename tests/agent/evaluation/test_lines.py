"""A scene over real SIP and on the virtual clock: the same things come back, and the same times."""

import random
from pathlib import Path

import pytest

from agent.evaluation.lines import HeldScene, VirtualLine, deadline_misses, sip_line
from agent.evaluation.outcome import place_turns
from agent.evaluation.scenes import Family, Scene
from agent.evaluation.scores import response_gap
from agent.evaluation.script import Step, speak_step
from agent.evaluation.segments import speech_segments
from agent.standin import StandIn
from agent.standin_tokens import StandInTokens
from model.order_line import Intent, Request
from model.voices import HELD_OUT_VOICES

AGREE_S = 0.1  # of one turn: the two clocks' frames lie up to 80 ms apart


def scene(number: int = 0) -> Scene:
    asked = Step(Request(Intent.HOURS, "when are you open"))
    step = speak_step(asked, HELD_OUT_VOICES[0], random.Random(1), rate=1.2, pitch=1.0, level_dbfs=-22)
    return Scene(Family.DIALOGUE, number, "ked", (step,))


def gap_s(held: HeldScene) -> float:
    (placed,) = place_turns(held.said, held.caller)
    found = response_gap(placed.turn, speech_segments(held.agent), len(held.agent) / 24_000)
    assert found is not None
    return found


def on_the_virtual_clock() -> HeldScene:
    held: list[HeldScene] = []
    VirtualLine(StandIn(1, step_s=0.0, row_step_s=0.0), StandInTokens(), limit_s=12.0).hold(
        iter([scene()]), held.append
    )
    return held[0]


def test_the_virtual_clock_hands_over_sound_and_words() -> None:
    held = on_the_virtual_clock()
    assert len(held.caller) == len(held.agent) and 0.2 < gap_s(held) < 0.9
    assert [word["text"] for word in held.words if word["speaker"] == "caller"] == ["caller"]


@pytest.mark.loopback
@pytest.mark.timeout(120)
def test_a_sip_call_gives_the_same_scene_the_same_time(tmp_path: Path) -> None:
    held: list[HeldScene] = []
    with sip_line(None, 1, "PCMU", tmp_path, "standin") as line:
        line.hold(iter([scene()]), held.append)
        assert deadline_misses(line) is not None
    (over_sip,) = held
    assert [word["text"] for word in over_sip.words if word["speaker"] == "caller"] == ["caller"]
    assert gap_s(over_sip) == pytest.approx(gap_s(on_the_virtual_clock()), abs=AGREE_S)
