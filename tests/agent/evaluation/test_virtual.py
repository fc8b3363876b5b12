"""Calls on the virtual clock: the delay is exact, the loop is causal, what the model asks for is done."""

import numpy as np
import pytest

from agent.energy_gate import Pcm
from agent.evaluation.call_loop import hold_calls
from agent.evaluation.virtual import VirtualCall, WireLeg
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ
from tests.agent.evaluation.parties import DELEGATE, HANG_UP, NOBODY, TRANSFER, Manners, Parties
from tests.signals import find_tone, tone

SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


def pushed(leg: WireLeg, pcm: Pcm) -> Pcm:
    return np.concatenate([leg.push(frame) for frame in pcm.reshape(-1, FRAME_SAMPLES)])


@pytest.mark.parametrize("delay_s", [0.02, 0.14])
def test_a_leg_delays_by_what_was_asked_and_keeps_a_telephones_band(delay_s: float) -> None:
    click = np.zeros(5 * FRAME_SAMPLES, np.float32)
    click[1000:1024] = 0.5
    heard = pushed(WireLeg(delay_s), click)
    assert len(heard) == len(click)
    assert abs(int(np.argmax(np.abs(heard))) - 1012 - delay_s * SAMPLE_RATE_HZ) <= 12
    low, high = (pushed(WireLeg(0.02), tone(hz, 0.8, SAMPLE_RATE_HZ)) for hz in (1000, 6000))
    assert find_tone(low, SAMPLE_RATE_HZ) == pytest.approx(1000, abs=5)
    assert np.abs(high[4000:]).max() < 0.02 * np.abs(low).max()


class Told:
    """Signals of a model that asks for something."""

    hangup, transfer, nobody, delegate = HANG_UP, TRANSFER, NOBODY, DELEGATE

    def encode(self, text: str) -> list[int]:
        return [1] * len(text.split())

    def piece(self, token: int) -> str:
        return {1: "▁one", 2: "▁two"}.get(token, "")


def test_both_transcripts_are_written_down() -> None:
    call = VirtualCall(0, lambda heard: SILENCE, 60.0)
    for text, caller_text in ((1, 3), (3, 3), (3, 2), (3, 3)):
        call.hear(SILENCE, text, caller_text, Told())
    call.finish()
    assert [(word.speaker, word.text) for word in call.words] == [("agent", "one"), ("caller", "two")]


def test_the_loop_is_causal_and_as_long_as_its_delays() -> None:
    """A speaker who clicks when it hears, against an engine that returns what it hears, with no delay."""

    class Mirror(Parties):
        def step(self, pcm, active):  # type: ignore[no-untyped-def]
            out = super().step(np.zeros_like(pcm), active)
            out.pcm[:] = pcm
            return out

    heard_at: list[int] = []
    frames = [SILENCE] * 12
    frames[2] = tone(500, FRAME_SAMPLES / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)

    def speaker(heard: Pcm) -> Pcm | None:
        heard_at.append(int(np.abs(heard).max() > 0.05))
        return frames.pop(0) if frames else None

    done: list[VirtualCall] = []
    engine = Mirror(Manners(greeting=""))
    hold_calls(engine, engine, iter([VirtualCall(0, speaker, 60.0, 0.004, 0.004)]), done.append)
    caller, agent = done[0].channels()
    assert len(caller) == len(agent) == 12 * FRAME_SAMPLES
    # Said in frame 2, known at its end, heard in frame 3 (the wire's 4 ms each way later), and so known to
    # the speaker when it says frame 4.
    onset = int(np.argmax(np.abs(agent) > 0.05))
    assert 3 * FRAME_SAMPLES + 150 < onset < 3 * FRAME_SAMPLES + 400
    assert heard_at.index(1) == 4
