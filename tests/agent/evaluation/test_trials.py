"""Planted agents, driven through the same runner as the model: each trial gives the planted value."""

import json
import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from agent.energy_gate import Segment
from agent.evaluation.judge import Judge, plain
from agent.evaluation.lines import HeldScene, VirtualLine
from agent.evaluation.outcome import CallOutcome, TurnOutcome
from agent.evaluation.scenes import Family, Scene
from agent.evaluation.script import Manner, SpokenStep, Step, speak_step
from agent.evaluation.trials import (
    Json,
    PlacedStep,
    judge_scene,
    place_steps,
    planned_turns,
    silence_from,
    truth_of,
)
from model.echo import Echo
from model.order_line import GOODBYE, HOURS, MORE, Intent, Order, Request
from model.voices import HELD_OUT_VOICES
from tests.agent.evaluation.deaf import DEAF
from tests.agent.evaluation.parties import Manners, Parties

RATE_HZ = 24_000
ASK = Request(Intent.HOURS, "what are your opening hours today please")
LATTE = Request(Intent.ORDER, "can I get a large latte with soy milk", Order("latte", "large", "soy milk"))
UP_S, DOWN_S = 0.02, 0.06
LOOP_S = UP_S + DOWN_S
WENT_ON = {"is_eligible": True, "is_stopped": False, "answers_itself": False}


@cache
def turn(request: Request = ASK, manner: Manner = Manner.REPLY) -> SpokenStep:
    step = Step(request, manner)
    return speak_step(step, HELD_OUT_VOICES[0], random.Random(1), rate=1.0, pitch=1.0, level_dbfs=-24)


def over(seconds: float, wait_s: float = 0.6) -> SpokenStep:
    """A sound of so many seconds over the agent's speech."""
    pcm = np.random.default_rng(0).normal(0, 0.05, round(seconds * RATE_HZ)).astype(np.float32)
    return SpokenStep(Step(None, Manner.OVER), pcm, 0.0, seconds, (), wait_s, "cough")


def held(manners: Manners, *steps: SpokenStep, echo: Echo | None = None, limit_s: float = 13.0) -> HeldScene:
    scene = Scene(Family.FLOOR, 0, "ked", steps, echo=echo, condition={"echo_db": -12.0})
    engine, done = Parties(manners), list[HeldScene]()
    VirtualLine(engine, engine, up_s=UP_S, down_s=DOWN_S, limit_s=limit_s).hold(iter([scene]), done.append)
    (only,) = done
    return only


def trials(manners: Manners, *steps: SpokenStep, echo: Echo | None = None, judge: Judge = DEAF) -> Json:
    one = held(manners, *steps, echo=echo)
    truth = json.loads(json.dumps(truth_of(one.scene, place_steps(one.said, one.caller), one.words)))
    return judge_scene(truth, one.agent, judge)


def test_the_gap_is_the_agents_patience_and_the_lines_delay() -> None:
    found = {}
    for patience_s in (0.24, 0.56):
        call = trials(Manners(answers_after_s=patience_s, told="hello"), turn())
        (only,) = call["turns"]
        assert call["greeting_after_s"] < 0.2
        found[patience_s] = only["gap_s"]
        # It is known to a frame when the caller ended, and the answer comes in the next one.
        assert patience_s - 0.08 + LOOP_S < only["gap_s"] < patience_s + 0.16 + LOOP_S
    assert found[0.56] - found[0.24] == pytest.approx(0.32, abs=0.02)
    assert call["transcript"] == "hello" and call["reference"] == ASK.text
    assert call["lines"] == [WENT_ON] * 2  # with the greeting


def test_what_is_said_is_judged(judge: Judge) -> None:
    (only,) = trials(Manners(is_buzz=False), turn(), judge=judge)["turns"]
    assert only["is_right"] and only["heard"] == plain(HOURS.text)


def test_an_interruption_is_obeyed_when_it_is() -> None:
    steps = (turn(), turn(ASK, Manner.CUT_IN))
    (row,) = trials(Manners(yields_after_s=0.4), *steps)["interruptions"]
    assert row["is_yielded"] and 0.28 + LOOP_S < row["stop_s"] < 0.52 + LOOP_S
    assert row["response_s"] == pytest.approx(0.3 + LOOP_S, abs=0.12)
    (row,) = trials(Manners(yields_after_s=None), *steps)["interruptions"]
    assert row["is_eligible"] and not row["is_yielded"] and row["response_s"] is None


def test_a_sound_is_gone_on_over_or_stopped_for_or_stuttered_at() -> None:
    steps = (turn(), over(0.5))
    patient = trials(Manners(yields_after_s=0.8), *steps)
    nervous = trials(Manners(yields_after_s=0.24), *steps)
    stutters = trials(Manners(yields_after_s=0.4, breaks_s=0.16), *steps)
    rows = [call["sounds"][0] for call in (patient, nervous, stutters)]
    assert [row["is_eligible"] for row in rows] == [True] * 3
    assert [row["is_stopped"] for row in rows] == [False, True, False]
    assert rows[1]["silence_s"] is not None, "it answered the cough"
    assert nervous["stutters"]["breaks"] == []
    assert [call["stutters"]["breaks"] for call in (patient, stutters)] == [[0], [1]]


def test_a_sound_at_the_end_of_a_line_proves_nothing() -> None:
    (row,) = trials(Manners(), turn(), over(0.3, wait_s=2.4))["sounds"]
    assert (row["is_eligible"], row["why_not"]) == (False, "the line was nearly over")
    (row,) = trials(Manners(line="Goodbye.", greeting=""), turn(), over(0.3, wait_s=2.4))["sounds"]
    assert (row["is_eligible"], row["why_not"]) == (False, "the agent was silent")


def test_a_pause_is_taken_by_the_hasty_alone() -> None:
    spoken = turn(LATTE)
    at, gap = round(0.5 * len(spoken.pcm)), round(0.9 * RATE_HZ)
    pcm = np.concatenate([spoken.pcm[:at], np.zeros(gap, np.float32), spoken.pcm[at:]])
    pause = Segment(at / RATE_HZ, (at + gap) / RATE_HZ)
    for is_complete in (False, True):
        pauses = ((), (pause,)) if is_complete else ((pause,), ())
        step = SpokenStep(
            spoken.step, pcm, spoken.start_s, spoken.end_s + 0.9, pauses[0], 0.5, "turn", pauses[1]
        )
        (hasty,) = trials(Manners(answers_after_s=0.4, yields_after_s=None), step)["pauses"]
        (patient,) = trials(Manners(answers_after_s=1.2), step)["pauses"]
        assert (hasty["is_taken"], patient["is_taken"]) == (True, False)
        assert hasty["is_in_rate"] is not is_complete and hasty["is_complete"] is is_complete
        assert hasty["length_s"] == pytest.approx(0.9, abs=0.001)


def test_an_agent_that_hears_itself_stops_at_loud_echo_alone() -> None:
    manners = Manners(yields_after_s=0.48, greeting="")
    loud = trials(manners, turn(), echo=Echo(50.0, -10.0, 80))
    soft = trials(manners, turn(), echo=Echo(50.0, -40.0, 80))
    assert any(row["is_eligible"] and row["is_stopped"] for row in loud["lines"])
    assert soft["lines"] == [{"is_eligible": False}, WENT_ON]


def test_a_greeting_that_stops_at_its_own_echo_counts() -> None:
    one = held(Manners(yields_after_s=0.48), turn(), echo=Echo(50.0, -10.0, 80), limit_s=3.0)
    greets = judge_scene(truth_of(one.scene, place_steps(one.said, one.caller), one.words), one.agent, DEAF)
    assert greets["lines"][0] == WENT_ON | {"is_stopped": True}


def test_an_agent_that_answers_its_own_echo_is_found() -> None:
    """It never yields, so nothing breaks off; but it talks again where nobody has spoken."""
    manners = Manners(yields_after_s=None, greeting="Hello.", line="One moment please, I will ask.")
    loud, soft = (trials(manners, turn(), echo=Echo(200.0, db, 80)) for db in (-6.0, -50.0))
    assert any(row.get("answers_itself") for row in loud["lines"])
    assert not any(row.get("answers_itself") for row in soft["lines"])


def test_a_shorter_line_than_was_due_is_no_false_stop(judge: Judge) -> None:
    """Asked for the hours it says another line, to its end, over a cough."""
    said = Manners(line=MORE.text, is_buzz=False, yields_after_s=None)
    row = trials(said, turn(), over(0.3, 0.5), judge=judge)["sounds"][0]
    assert not row.get("is_stopped", False), row


def test_sentences_of_the_calls_are_recognised_or_not(judge: Judge) -> None:
    spoken = held(Manners(is_buzz=False), turn())
    truth = truth_of(spoken.scene, place_steps(spoken.said, spoken.caller), spoken.words)
    truth["family"] = "dialogue"
    assert judge_scene(truth, spoken.agent, judge)["said_lines"] == [True, True]
    assert judge_scene(truth, spoken.agent, DEAF)["said_lines"] == [False, False]
    truth["family"], truth["words"] = "floor", None
    told = judge_scene(truth, spoken.agent, DEAF)
    assert told["said_lines"] == [] and told["transcript"] is None and told["planned_turns"] == 1


def test_a_hang_up_that_was_right_takes_no_turns() -> None:
    """ "No thanks" after "anything else" ends the call, whatever the script still had."""

    def outcome(expected: str) -> CallOutcome:
        said = TurnOutcome(
            "no", "", "reply", 1.0, 2.0, [], [expected], "", None, True, True, 0.3, False, [], None
        )
        return CallOutcome(0, "ked", 4.0, "", True, 0.1, [said])

    assert planned_turns(14, outcome(GOODBYE.text)) == 1
    assert planned_turns(14, outcome(MORE.text)) == 14
    assert planned_turns(1, replace(outcome(MORE.text), turns=[])) == 1


def test_placed_steps_survive_json() -> None:
    one = held(Manners(), turn(), over(0.3))
    placed = place_steps(one.said, one.caller)
    assert [PlacedStep.from_json(json.loads(json.dumps(step.as_json()))) for step in placed] == placed
    first, second = placed
    assert first.sound == "turn" and second.sound == "cough" and second.placed.request is None
    assert second.placed.turn.end_s - second.placed.turn.start_s == pytest.approx(0.3)


def test_silences_count_from_the_one_who_spoke() -> None:
    agent = [Segment(0.0, 1.0), Segment(1.2, 2.0), Segment(2.5, 3.0)]
    assert silence_from(0.5, 1.5, agent) is None  # 200 ms is no stop
    assert silence_from(0.5, 2.2, agent) == pytest.approx(0.5)
    assert silence_from(2.6, 4.0, agent) == float("inf")
