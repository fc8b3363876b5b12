"""A scene over real SIP and on the virtual clock: the same things come back, and the same times."""

import random
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest

from agent.evaluation.lines import HeldScene, VirtualLine, deadline_misses, sip_line
from agent.evaluation.outcome import place_turns
from agent.evaluation.scenes import Family, Scene
from agent.evaluation.scores import response_gap
from agent.evaluation.script import SpokenStep, Step, speak_step
from agent.evaluation.segments import speech_segments
from agent.standin import StandIn
from agent.standin_tokens import StandInTokens
from model.order_line import Intent, Request
from model.voices import HELD_OUT_VOICES

NUM_TURNS = 3
THIRD_SAMPLES = 640  # of a frame
AGREE_S = 0.1  # of a mean of three: the stand-in hears by whole frames, which lie elsewhere on each clock


def scene(number: int = 0) -> Scene:
    rng, asked = random.Random(1), Step(Request(Intent.YES, "yes please"))
    step = speak_step(asked, HELD_OUT_VOICES[0], rng, rate=1.2, pitch=1.0, level_dbfs=-22)
    return Scene(Family.DIALOGUE, number, "ked", tuple(_shifted(step, turn) for turn in range(NUM_TURNS)))


def _shifted(step: SpokenStep, thirds: int) -> SpokenStep:
    """Ending at another place in a frame."""
    cut = thirds * THIRD_SAMPLES
    start_s, end_s = step.start_s - cut / 24_000, step.end_s - cut / 24_000
    return replace(step, pcm=step.pcm[cut:], start_s=start_s, end_s=end_s, wait_s=0.4)


def gap_s(held: HeldScene) -> float:
    placed = place_turns(held.said, held.caller)
    untils = [one.turn.start_s for one in placed[1:]] + [len(held.agent) / 24_000]
    agent = speech_segments(held.agent)
    found = [response_gap(one.turn, agent, until_s) for one, until_s in zip(placed, untils, strict=True)]
    assert len(found) == NUM_TURNS
    return mean(gap for gap in found if gap is not None)


def on_the_virtual_clock() -> HeldScene:
    held: list[HeldScene] = []
    standin = StandIn(1, step_s=0.0, row_step_s=0.0)
    VirtualLine(standin, StandInTokens(), limit_s=20.0).hold(iter([scene()]), held.append)
    return held[0]


def words_of_caller(held: HeldScene) -> list[str]:
    return [str(word["text"]) for word in held.words or () if word["speaker"] == "caller"]


def test_the_virtual_clock_hands_over_sound_and_words() -> None:
    held = on_the_virtual_clock()
    assert len(held.caller) == len(held.agent) and 0.2 < gap_s(held) < 0.9
    assert words_of_caller(held) == ["caller"] * NUM_TURNS


@pytest.mark.loopback
@pytest.mark.timeout(120)
def test_a_sip_call_gives_the_same_scene_the_same_time(tmp_path: Path) -> None:
    held: list[HeldScene] = []
    with sip_line(None, 1, "PCMU", tmp_path, "standin") as line:
        line.hold(iter([scene()]), held.append)
        assert deadline_misses(line) is not None
    (over_sip,) = held
    assert words_of_caller(over_sip) == ["caller"] * NUM_TURNS
    assert gap_s(over_sip) == pytest.approx(gap_s(on_the_virtual_clock()), abs=AGREE_S)
