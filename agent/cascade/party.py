"""One call on the engine's thread: sound goes to the ear, words to the talker, and what that gives is played.

Nothing here waits.

The history row of a frame is [the agent's text token, 0, the caller's]: enough to go on elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.cascade.dialogue import Said
from agent.cascade.ear import Heard, Turn
from agent.cascade.ear_process import Frame
from agent.cascade.lanes import Lane
from agent.cascade.talker import Ask, Kind, Sentence
from agent.duplex import Tokens
from agent.settings import CascadeSettings
from agent.wire import FRAME_SAMPLES, PERIOD_S, SAMPLE_RATE_HZ
from model.order_line import UNKNOWN, Control
from model.tokenizer import PAD

NUM_COLUMNS = 3
TEXT_COLUMN, CALLER_COLUMN = 0, 2
TURN_PAUSE_FRAMES = 8  # without a token of a side: what follows is another of its turns

Hearing = Lane[Frame, Heard]
Talking = Lane[Ask, Sentence]


@dataclass(slots=True)
class _Playing:
    """What the agent is saying: sound that is left, and text tokens with the frames at which they are due."""

    pcm: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    tokens: deque[tuple[int, int]] = field(default_factory=deque)  # frame, token

    @property
    def num_frames(self) -> int:
        """How many frames the sound still lasts."""
        return -(-len(self.pcm) // FRAME_SAMPLES)


class Party:
    """The agent's side of one call; `step` once a frame."""

    def __init__(self, ear: Hearing, talker: Talking, tokens: Tokens, settings: CascadeSettings) -> None:
        self._ear, self._talker, self._tokens, self._settings = ear, talker, tokens, settings
        self._frame = 0
        self._number = 0  # of the latest question; answers to earlier ones are dropped
        self._is_awaiting = False  # an answer whose first sentence has not come
        self._playing = _Playing()
        self._caller_tokens: deque[int] = deque()
        self._forced: int | None = None
        self._quiet_frames = 0
        self._idle_s = 0.0  # nobody has spoken for so long
        self._num_reminders = 0

    def begin(self, role: str, history: Sequence[Said] | None) -> None:
        """A call begins: with a history it goes on, else it is greeted."""
        self._ear.clear()
        self._talker.clear()
        self._ear.give(None, 0.0)
        self._talker.give(Ask(0, Kind.BEGIN, role, history=tuple(history or ())), 0.0)
        if history is None:
            self._ask(Kind.GREET)

    def step(self, pcm: NDArray[np.float32]) -> tuple[NDArray[np.float32], int, int]:
        """One frame, float32 [1920] both ways: (the agent's sound, its text token, the caller's).

        Raises what went wrong on a lane.
        """
        now_s = self._frame * PERIOD_S
        self._ear.give(pcm.copy(), now_s)
        for heard in self._ear.take(now_s):
            self._listen(heard)
        for sentence in self._talker.take(now_s):
            if sentence.number == self._number:
                self._add(sentence)
        self._mind_silence()
        said = self._speak()
        caller = self._caller_tokens.popleft() if self._caller_tokens else PAD
        self._frame += 1
        return said[0], said[1], caller

    # ---- what it is told ----

    def say(self, words: str) -> None:
        """Say this next, in place of what it is saying; nothing: stop."""
        self._stop()
        if words:
            self._ask(Kind.SAY, words)

    def be_silent(self, frames: int) -> None:
        """Say nothing for so many frames; what it was saying waits."""
        self._quiet_frames = frames

    def force(self, token: int) -> None:
        """The next step's text token. NOBODY has it said that a transfer is impossible."""
        self._forced = token
        if token == self._tokens.nobody:
            self._stop()
            self._ask(Kind.NOBODY)

    # ---- hearing ----

    @property
    def _is_speaking(self) -> bool:
        return len(self._playing.pcm) > 0

    def _listen(self, heard: Heard) -> None:
        if heard.speech_s:
            self._idle_s = 0.0
        if heard.speech_s >= self._settings.barge_in_s and (self._is_speaking or self._is_awaiting):
            self._stop()
        if heard.turn is not None and not self._is_murmur(heard.turn):
            self._num_reminders = 0
            self._stop()
            self._ask(Kind.ANSWER, heard.turn.words, heard.turn.pcm)

    def _is_murmur(self, turn: Turn) -> bool:
        """A sound under the agent's words that was too short to interrupt them."""
        return self._is_speaking and turn.speech_s < self._settings.barge_in_s

    def _ask(self, kind: Kind, words: str = "", pcm: NDArray[np.int16] | None = None) -> None:
        self._number += 1
        self._is_awaiting = True
        ask = Ask(self._number, kind, words) if pcm is None else Ask(self._number, kind, words, pcm)
        self._talker.give(ask, self._frame * PERIOD_S)

    def _mind_silence(self) -> None:
        """Ask whether somebody is there, then hang up, when nobody speaks for long."""
        self._idle_s = 0.0 if self._is_speaking or self._is_awaiting else self._idle_s + PERIOD_S
        if self._idle_s >= self._settings.silence_s:
            self._idle_s = 0.0
            self._num_reminders += 1
            self._ask(Kind.STILL_THERE if self._num_reminders == 1 else Kind.GIVE_UP)

    # ---- speaking ----

    def _stop(self) -> None:
        """Fall silent, and await no answer."""
        self._playing = _Playing()
        self._is_awaiting = False
        self._number += 1

    def _add(self, sentence: Sentence) -> None:
        """Say this after what is being said."""
        self._is_awaiting = False
        self._caller_tokens.extend(self._tokens.encode(sentence.caller_words))
        playing, spoken = self._playing, sentence.spoken
        begins_s = self._frame * PERIOD_S + len(playing.pcm) / SAMPLE_RATE_HZ
        for word, start_s in spoken.words:
            frame = int((begins_s + start_s) / PERIOD_S)
            playing.tokens.extend((frame, token) for token in self._tokens.encode(word))
        playing.pcm = np.concatenate([playing.pcm, spoken.pcm])
        tokens = self._tokens
        control = {Control.HANG_UP: tokens.hangup, Control.TRANSFER: tokens.transfer}
        control[Control.DELEGATE] = tokens.delegate
        token = control.get(sentence.control, PAD)
        if token >= 0:
            playing.tokens.append((self._frame + playing.num_frames, token))
        elif sentence.control is Control.DELEGATE:  # these tokens have no word for it: nobody can be asked
            self._ask(Kind.SAY, UNKNOWN.text)

    def _speak(self) -> tuple[NDArray[np.float32], int]:
        """The frame's sound and text token; one token a frame, none before it is due."""
        forced, self._forced = self._forced, None
        silence = np.zeros(FRAME_SAMPLES, np.float32)
        playing = self._playing
        if self._quiet_frames:
            self._quiet_frames -= 1
            playing.tokens = deque((frame + 1, token) for frame, token in playing.tokens)
            return silence, PAD if forced is None else forced
        sound, playing.pcm = playing.pcm[:FRAME_SAMPLES], playing.pcm[FRAME_SAMPLES:]
        silence[: len(sound)] = sound
        if forced is not None:
            return silence, forced
        is_due = bool(playing.tokens) and playing.tokens[0][0] <= self._frame
        return silence, playing.tokens.popleft()[1] if is_due else PAD


def said_in(history: NDArray[np.int16], tokens: Tokens) -> list[Said]:
    """Who said what, in order, in a history of rows int16 [T, 3]."""
    turns = [
        (frame, is_agent, words)
        for is_agent, column in ((True, TEXT_COLUMN), (False, CALLER_COLUMN))
        for frame, words in _turns_of(history[:, column], tokens)
    ]
    return [(is_agent, words) for _frame, is_agent, words in sorted(turns)]


def _turns_of(column: NDArray[np.int16], tokens: Tokens) -> Iterator[tuple[int, str]]:
    """(frame of its beginning, words) of each turn of one side."""
    pieces: list[str] = []
    began = last = 0
    for frame, token in enumerate(column):
        piece = tokens.piece(int(token))
        if not piece:
            continue
        if pieces and frame - last > TURN_PAUSE_FRAMES:
            yield began, _words(pieces)
            pieces = []
        if not pieces:
            began = frame
        pieces.append(piece)
        last = frame
    if pieces:
        yield began, _words(pieces)


def _words(pieces: Sequence[str]) -> str:
    return " ".join("".join(pieces).replace("▁", " ").split())
