"""Consent to a recording, event by event."""

import pytest

from agent.clock import ManualClock
from agent.consent import Consent, ConsentGate, ConsentRules

RULES = ConsentRules("This call is recorded; press 9 if you mind.", "9", window_s=3.0)


class Scene:
    """A gate, its clock, and what it told."""

    def __init__(self, rules: ConsentRules = RULES) -> None:
        self.clock = ManualClock()
        self.told: list[Consent] = []
        self.gate = ConsentGate(rules, self.clock.now, self.told.append)

    def after(self, seconds: float) -> bool:
        self.clock.advance(seconds)
        self.gate.tick()
        return self.gate.may_record


def test_without_an_announcement_a_call_is_recorded_from_its_beginning() -> None:
    scene = Scene(ConsentRules())
    assert scene.gate.may_record
    scene.gate.pressed("9")
    scene.gate.announced()
    assert scene.gate.may_record and scene.told == []


def test_recording_begins_when_the_caller_was_told_and_had_time_to_say_no() -> None:
    scene = Scene()
    assert not scene.after(60)  # it has not been said
    scene.gate.announced()
    assert not scene.after(2.9)
    assert scene.after(0.2)
    assert scene.told == [Consent.WAITING, Consent.RECORDING]


@pytest.mark.parametrize("when", ["before", "meanwhile", "later"])
def test_the_digit_ends_it_whenever_it_is_pressed(when: str) -> None:
    scene = Scene()
    if when != "before":
        scene.gate.announced()
    if when == "later":
        assert scene.after(5)
    scene.gate.pressed("8")
    scene.gate.pressed("9")
    scene.gate.pressed("9")
    scene.gate.announced()
    assert not scene.after(60)
    assert scene.told[-1] is Consent.REFUSED and scene.told.count(Consent.REFUSED) == 1


def test_the_time_to_say_no_begins_once() -> None:
    scene = Scene()
    scene.gate.announced()
    scene.after(2)
    scene.gate.announced()
    assert scene.after(1)
