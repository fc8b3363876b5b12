"""Calls on a virtual clock: any speaker against any engine, no telephone, as many at once as slots.

What a real line puts between the two is there as samples: G.711 and its resamplers as the bridge streams
them, and a constant delay each way that was measured on the bridge. So the figures are the telephone's, and
there is no deadline to miss.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agent.energy_gate import Pcm
from agent.evaluation.call_loop import AgentSide, Signals
from agent.evaluation.placed_call import FRAME_S, Speaker
from agent.transcript import Speaker as Side
from agent.transcript import TimedWord, WordStream
from model.line_codecs import g711
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ
from telephony.resample import WAIT_S, StreamResampler

WIRE_RATE_HZ = 8000
# From the caller's mouth to the model, beyond the frame itself, and from there to the caller's ear, the
# step of two calls in it (22 ms): so long that scenes have the times that they have over SIP (docs/log.md).
UP_DELAY_S = 0.030
DOWN_DELAY_S = 0.100
_SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


class WireLeg:
    """One direction of a telephone line: G.711 between the bridge's resamplers, then a constant delay."""

    def __init__(self, delay_s: float) -> None:
        """`delay_s` is the whole leg's, its two resamplers included."""
        self._down = StreamResampler(SAMPLE_RATE_HZ, WIRE_RATE_HZ)
        self._up = StreamResampler(WIRE_RATE_HZ, SAMPLE_RATE_HZ)
        waiting = round((delay_s - 2 * WAIT_S) * SAMPLE_RATE_HZ)
        self._waiting = np.zeros(max(0, waiting), np.float32)

    def push(self, frame: Pcm) -> Pcm:
        """The next frame in, float32 [1920]; as long a one comes out."""
        wire = g711(self._down.push(frame), "pcmu")
        joined = np.concatenate([self._waiting, self._up.push(wire)])
        self._waiting = joined[len(frame) :]
        return joined[: len(frame)]


@dataclass(slots=True)
class VirtualCall:
    """One caller and one slot, frame by frame."""

    number: int
    speaker: Speaker
    limit_s: float
    up_s: float = UP_DELAY_S
    down_s: float = DOWN_DELAY_S
    agent: AgentSide = field(default_factory=AgentSide)
    words: list[TimedWord] = field(default_factory=list)  # of both, on the call's clock
    _said: list[Pcm] = field(default_factory=list)
    _heard: list[Pcm] = field(default_factory=lambda: [_SILENCE])  # a frame is answered in the next one
    _legs: tuple[WireLeg, WireLeg] = field(init=False)
    _texts: tuple[WordStream, WordStream] | None = None

    def __post_init__(self) -> None:
        self._legs = (WireLeg(self.up_s), WireLeg(self.down_s))

    def say(self) -> Pcm | None:
        """What the model hears next, float32 [1920]; None when the caller hangs up or at the limit."""
        slot = len(self._said)  # the frame that begins now; what was heard is known up to the one before
        said = self.speaker(self._heard[slot - 1] if slot else _SILENCE)
        if said is None or len(self._said) * FRAME_S >= self.limit_s:
            return None
        self._said.append(said)
        return self._legs[0].push(said)

    def hear(self, pcm: Pcm, text: int, caller_text: int, signals: Signals) -> int | None:
        """Take the model's frame; one of the signals once the model has finished speaking after it."""
        frame, request = self.agent.push(pcm, text, signals)
        self._heard.append(self._legs[1].push(frame))
        self._note_words(text, caller_text, signals)
        return request

    def _note_words(self, text: int, caller_text: int, signals: Signals) -> None:
        if self._texts is None:
            self._texts = (WordStream(Side.AGENT, signals), WordStream(Side.CALLER, signals))
        at_s = (len(self._heard) - 1) * FRAME_S
        for stream, token in zip(self._texts, (text, caller_text), strict=True):
            if (word := stream.push(token, at_s)) is not None:
                self.words.append(word)

    def finish(self) -> None:
        """The call is over: write down the words that were still open."""
        for stream in self._texts or ():
            if (word := stream.finish()) is not None:
                self.words.append(word)

    def channels(self) -> tuple[Pcm, Pcm]:
        """(caller, agent) at the caller's end, float32 [T] each."""
        heard = [*self._heard, _SILENCE][: len(self._said)]
        return np.concatenate([_SILENCE[:0], *self._said]), np.concatenate([_SILENCE[:0], *heard])
