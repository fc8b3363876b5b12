"""Persons and machines told apart: synthetic voices through a telephone's noise, beeps, rooms, silence."""

from functools import cache

import numpy as np
import pytest

from agent.machine_detection import Answerer, DetectionRules, MachineDetector, ToneWatch
from model.voices import AGENT_VOICE, Voice, synthesize
from telephony.audio import Pcm
from tests.signals import noise, speech_like, tone

RATE = 24_000
VOICES = (Voice("espeak", "en-us"), AGENT_VOICE)
HELLO = ("Hello?", "Smith speaking.", "Yes, hello?")
GREETINGS = (
    "You have reached the voice mail of John Smith. Please leave a message after the tone.",
    "Hi, this is Anna. I can not come to the phone right now, but leave me your number and I will call.",
)


@cache
def said(text: str, voice: int = 0) -> Pcm:
    return np.asarray(synthesize(text, VOICES[voice]).pcm, np.float32)


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE), np.float32)


def verdict_of(*parts: Pcm, noise_level: float = 0.001, chunk: int = 1920) -> tuple[Answerer | None, float]:
    """The verdict over a line with noise, and when it fell."""
    pcm = np.concatenate(parts)
    pcm = np.asarray(pcm + noise(len(pcm) / RATE, RATE, noise_level, seed=3)[: len(pcm)], np.float32)
    detector = MachineDetector()
    for at in range(0, len(pcm), chunk):
        found = detector.push(pcm[at : at + chunk])
        if found is not None:
            return found, (at + chunk) / RATE
    return None, len(pcm) / RATE


@pytest.mark.parametrize("text", HELLO)
@pytest.mark.parametrize("lead_s", [0.1, 2.5])
@pytest.mark.parametrize("voice", [0, 1])
def test_who_says_hello_and_waits_is_human_soon_after(text: str, lead_s: float, voice: int) -> None:
    hello = said(text, voice)
    found, at_s = verdict_of(silence(lead_s), hello, silence(3))
    assert found is Answerer.HUMAN
    assert at_s <= lead_s + len(hello) / RATE + 1.0


@pytest.mark.parametrize("text", GREETINGS)
@pytest.mark.parametrize("voice", [0, 1])
def test_a_greeting_that_goes_on_is_a_machine_before_it_beeps(text: str, voice: int) -> None:
    found, at_s = verdict_of(silence(0.5), said(text, voice), silence(0.5), tone(1000, 0.4, RATE, 0.2))
    assert found is Answerer.MACHINE and at_s < 5.5


@pytest.mark.parametrize("hz", [425, 1000, 1400, 2100])
def test_a_beep_is_a_machine_at_once_and_its_end_is_told(hz: float) -> None:
    detector = MachineDetector()
    found = [detector.push(part) for part in np.split(tone(hz, 0.4, RATE, 0.1), 5)]
    assert [one for one in found if one] == [Answerer.MACHINE] and not detector.has_beeped
    detector.push(silence(0.2))
    assert detector.has_beeped and detector.verdict is Answerer.MACHINE


def test_a_beep_after_a_short_greeting_is_still_heard() -> None:
    detector = MachineDetector()
    for part in (silence(0.3), said("Hello?"), silence(1.5)):
        detector.push(part)
    assert detector.verdict is Answerer.HUMAN and not detector.has_beeped
    detector.push(tone(1000, 0.5, RATE, 0.2))
    assert detector.push(silence(0.3)) is None and detector.has_beeped


def test_silence_and_middling_lengths_are_uncertain() -> None:
    found, at_s = verdict_of(silence(6))
    assert found is Answerer.UNCERTAIN and at_s == pytest.approx(4.5, abs=0.1)
    found, _ = verdict_of(silence(0.2), speech_like(2.4, RATE, seed=2) * 0.3, silence(2))
    assert found in (Answerer.UNCERTAIN, Answerer.HUMAN)  # never hung up on


def test_a_noisy_line_is_nobody_and_a_noisy_hello_a_person() -> None:
    assert verdict_of(silence(6), noise_level=0.004)[0] is Answerer.UNCERTAIN
    assert verdict_of(silence(0.4), said("Hello?"), silence(3), noise_level=0.004)[0] is Answerer.HUMAN


@pytest.mark.parametrize("voice", [0, 1])
def test_no_voice_is_taken_for_a_beep(voice: int) -> None:
    watch = ToneWatch(DetectionRules().beep_s)
    pcm = np.concatenate([said(text, voice) for text in (*HELLO, *GREETINGS)])
    assert not any(watch.push(pcm[at : at + 1920]) for at in range(0, len(pcm), 1920))


def test_digits_and_glides_are_no_beeps() -> None:
    watch = ToneWatch(0.2)
    assert not watch.push(np.asarray(tone(770, 0.5, RATE, 0.2) + tone(1336, 0.5, RATE, 0.2), np.float32))
    at = np.arange(RATE) / RATE
    assert not watch.push(np.asarray(0.3 * np.sin(2 * np.pi * (500 * at + 700 * at**2)), np.float32))
    assert not watch.push(tone(300, 0.5, RATE, 0.3))  # a hum


def test_the_size_of_chunks_changes_nothing() -> None:
    parts = (silence(0.5), said(GREETINGS[0]), silence(0.5))
    (one, at_s), (other, other_s) = verdict_of(*parts), verdict_of(*parts, chunk=480)
    assert one is other is Answerer.MACHINE and abs(at_s - other_s) <= 0.08
