"""Trials of known calls give known figures."""

from typing import Any

import pytest

from agent.evaluation.figures import figures_of
from agent.evaluation.rows import QUOTAS
from agent.evaluation.scenes import Family
from agent.evaluation.trials import Json


def turn(**known: Any) -> Json:
    row = {
        "intent": "hours", "gap_s": 0.5, "is_miss": False, "early_starts": [], "is_judged": True,
        "is_right": True, "answer_tone": "calm", "start_s": 1.0, "end_s": 2.0,
        "expected": ["See you soon."], "heard": "see you soon",
    }  # fmt: skip
    return row | known


def pause(*, taken: bool, complete: bool = False) -> Json:
    return {
        "length_s": 0.7, "is_complete": complete, "is_eligible": True, "is_taken": taken,
        "is_in_rate": not complete,
    }  # fmt: skip


def call(*turns: Json, **known: Any) -> Json:
    row = {
        "number": 0, "seconds": 60.0, "planned_turns": len(turns), "said_lines": [],
        "agent": [], "condition": {}, "turns": list(turns), "pauses": [],
        "sounds": [], "interruptions": [],
        "stutters": {"breaks": [], "breaks_per_s": 0.0}, "lines": [],
        "given": {"num": 0, "caller_speech_s": 30.0}, "reference": "", "transcript": "",
    }  # fmt: skip
    return row | known


def test_dialogues_give_gaps_answers_pauses_and_words() -> None:
    one = call(
        turn(gap_s=0.3), turn(gap_s=2.5, is_right=False), turn(gap_s=None, is_miss=True, is_right=False),
        pauses=[pause(taken=True), pause(taken=False), pause(taken=True, complete=True)],
        given={"num": 2, "caller_speech_s": 60.0}, reference="a b c d", transcript="a x c d",
    )  # fmt: skip
    two = call(*[turn(intent="order", gap_s=0.5)] * 10, pauses=[pause(taken=False)] * 2)
    found = figures_of(Family.DIALOGUE, [one, two])
    assert found["gap_p50"].value == pytest.approx(0.5)
    assert (found["gap_p50"].num_eligible, found["gap_p50"].num_attempted) == (12, 13)
    assert found["misses"].value == pytest.approx(1 / 13) and found["dead_air"].value == pytest.approx(2 / 13)
    assert found["right"].value == pytest.approx(11 / 13) and found["right_order"].value == 1.0
    assert found["right_hours"].value == pytest.approx(1 / 3)
    assert found["premature"].value == pytest.approx(1 / 4) and found["taken_at_complete"].value == 1.0
    assert found["given_per_minute"].value == pytest.approx(1.0)
    assert found["transcript_wer"].value == pytest.approx(0.25) and found["transcript_wer"].num_eligible == 4
    assert found["right_early"].value == pytest.approx(4 / 6) and found["right_late"].num_eligible == 3


def test_the_floor_is_yielded_kept_or_stuttered() -> None:
    tries = [
        {"is_eligible": True, "is_yielded": True, "stop_s": 0.3, "response_s": 0.4},
        {"is_eligible": True, "is_yielded": False, "stop_s": None, "response_s": None},
        {"is_eligible": False, "is_yielded": False, "stop_s": None, "response_s": None},
    ]
    sounds = [
        {"sound": "cough", "is_eligible": True, "is_stopped": True},
        {"sound": "cough", "is_eligible": True, "is_stopped": False},
        {"sound": "cough", "is_eligible": False},
        {"sound": "music", "is_eligible": True, "is_stopped": False},
    ]
    sounds = [{**row, "start_s": 5.0, "end_s": 5.4} for row in sounds]
    one = call(interruptions=tries, sounds=sounds, stutters={"breaks": [2, 0], "breaks_per_s": 0.25})
    found = figures_of(Family.FLOOR, [one])
    assert (found["yield"].value, found["yield"].num_eligible, found["yield"].num_attempted) == (0.5, 2, 3)
    assert found["stop_p50"].value == 0.3 and found["response_after_stop_p50"].value == 0.4
    assert found["ignored_cough"].value == 0.5 and found["ignored_cough"].num_attempted == 3
    assert found["ignored_music"].value == 1.0 and found["ignored_backchannel"].num_eligible == 0
    assert found["stutters_per_event"].value == pytest.approx(0.75)
    assert sorted(QUOTAS[Family.FLOOR].kinds(one)) == ["cough", "cough", "music", "turn", "turn"]


def test_echo_stops_are_told_apart_by_their_return() -> None:
    went_on = {"is_eligible": True, "is_stopped": False, "answers_itself": False}
    stopped = {**went_on, "is_stopped": True, "answers_itself": True}
    calls = [
        call(condition={"echo_db": -20.0}, lines=[went_on] * 3 + [{"is_eligible": False}]),
        call(condition={"echo_db": -12.0}, lines=[stopped, went_on]),
    ]
    found = figures_of(Family.ECHO, calls)
    assert found["self_stops_-20_db"].value == 0.0 and found["self_stops_-12_db"].value == 0.5
    assert found["self_stops_-20_db"].num_attempted == 4
    assert found["cut_short_echo"].value == 0.0
    crowded = figures_of(Family.ECHO, [*calls, {**calls[0], "planned_turns": 8}])
    assert crowded["cut_short_echo"].value == pytest.approx(1 / 3)
    assert found["self_answers_-20_db"].value == 0.0 and found["self_answers_-12_db"].value == 0.5


@pytest.mark.parametrize(("family", "name"), [(Family.ORDERS, "orders"), (Family.REAL_ORDERS, "real_orders")])
def test_orders_are_told_by_their_noise(family: Family, name: str) -> None:
    levels: list[tuple[str | float, bool]] = [("clean", True), ("clean", True), (24.0, True), (6.0, False)]
    calls = [call(turn(is_right=right), condition={"snr_db": level}) for level, right in levels]
    found = figures_of(family, calls)
    assert found[f"{name}_clean"].value == 1.0 and found[f"{name}_noisy"].value == 0.5
    assert found[f"{name}_6_db"].value == 0.0 and found[f"{name}_12_db"].num_eligible == 0


def test_slots_of_orders_are_told_by_their_noise() -> None:
    """The wrong milk, then size and milk that nobody understood, then sugar that nobody ordered."""

    def heard(words: str | None, level: str | float) -> Json:
        said = turn(expected=["A large latte with oat milk. Is that right?"], heard=words, is_right=False)
        return call(said, condition={"snr_db": level})

    calls = [
        heard("a large latte with soy milk is that right", "clean"),
        heard("a latte is that right", 6.0),
        heard("a large latte with oat milk and sugar is that right", 6.0),
        heard(None, 12.0),
        call(turn(expected=["See you soon."], heard="see you soon"), condition={"snr_db": 24.0}),
    ]
    found = figures_of(Family.REAL_ORDERS, calls)
    assert found["real_orders_slots_clean"].value == pytest.approx(2 / 3)
    assert found["real_orders_slots_6_db"].value == pytest.approx(4 / 7)
    assert found["real_orders_slots_12_db"].value == 0.0
    assert found["real_orders_slots_noisy"].num_eligible == 10
    assert found["real_orders_slots_24_db"].num_eligible == 0


def test_tones_are_met_or_not() -> None:
    calls = [call(turn(answer_tone="calm"), condition={"tone": tone}) for tone in ("calm", "angry")]
    found = figures_of(Family.TONE, calls)
    assert found["tone"].value == 0.5
    assert (found["tone_calm"].value, found["tone_angry"].value) == (1.0, 0.0)
    assert found["tone_whisper"].num_eligible == 0


def test_numbers_are_right_as_a_whole() -> None:
    calls = [call(turn(is_right=right)) for right in (True, False, True, True)]
    assert figures_of(Family.NUMBERS, calls)["numbers"].value == 0.75
    assert figures_of(Family.REAL_NUMBERS, calls)["real_numbers"].num_eligible == 4


def test_every_family_has_figures_and_a_quota() -> None:
    for family in Family:
        assert all(figure.num_eligible == 0 for figure in figures_of(family, []).values())
        quota = QUOTAS[family]
        assert quota.least_scenes(100) <= quota.most_scenes(100) and not quota.is_met([], 1)


def test_turns_that_a_hang_up_took_are_not_forgotten() -> None:
    """An agent that hangs up on its callers has answered all that it let them say."""
    whole, hung_up = call(*[turn()] * 10), call(*[turn()] * 2, planned_turns=10)
    found = figures_of(Family.DIALOGUE, [whole, hung_up])
    assert found["right"].value == pytest.approx(12 / 20) and found["cut_short"].value == 0.5
    assert found["right_late"].value == 0.5 and found["right_early"].value == pytest.approx(5 / 6)
    condition = {"snr_db": "clean", "tone": "calm"}
    silenced = call(planned_turns=1, condition=condition)
    assert (
        figures_of(Family.ORDERS, [silenced, call(turn(), condition=condition)])["orders_clean"].value == 0.5
    )
    assert figures_of(Family.NUMBERS, [silenced])["numbers"].value == 0.0
    assert figures_of(Family.TONE, [silenced, call(turn(), condition=condition)])["tone"].value == 0.5


def test_an_agent_that_writes_nothing_of_a_call_has_missed_its_words() -> None:
    wrote = call(turn(), reference="a b", transcript="a b")
    nothing = call(turn(), reference="c d", transcript="")
    unknown = call(turn(), reference="e f", transcript=None)
    found = figures_of(Family.DIALOGUE, [wrote, nothing, unknown])["transcript_wer"]
    assert found.value == pytest.approx(0.5) and (found.num_eligible, found.num_attempted) == (4, 6)
    assert figures_of(Family.DIALOGUE, [nothing, unknown])["transcript_wer"].num_eligible == 0


def test_a_turn_that_is_hung_up_on_is_not_answered() -> None:
    """The agent hung up a second after it: no gap, and too soon to call it a miss."""
    hung_up = call(turn(), turn(gap_s=None, is_right=False))
    early = call(turn(gap_s=None, early_starts=[1.5]), turn())
    found = figures_of(Family.DIALOGUE, [hung_up, early])
    assert found["misses"].value == 0.25 and found["dead_air"].value == pytest.approx(1 / 3)


def test_calls_with_one_recording_are_one_to_the_interval() -> None:
    def heard(clip: str, *, right: bool) -> Json:
        return call(turn(is_right=right), condition={"snr_db": "clean", "clip": clip})

    once = [heard(f"a/{number}", right=number % 2 == 0) for number in range(40)]
    again = [heard(f"a/{number % 4}", right=number % 2 == 0) for number in range(40)]
    width = {
        name: figure.high - figure.low
        for name, calls in (("once", once), ("again", again))
        for figure in [figures_of(Family.REAL_ORDERS, calls)["real_orders_clean"]]
    }
    assert width["again"] > 1.5 * width["once"]


def test_sentences_are_those_of_the_calls() -> None:
    calls = [call(turn(), said_lines=[True, True, False]), call(turn(), said_lines=[True])]
    found = figures_of(Family.DIALOGUE, calls)["said_lines"]
    assert (found.value, found.num_eligible) == (0.75, 4)
