"""Whole calls assembled from tokens: the caller's turns, the agent's answers by the rules, and their timing.

Index i of a call is one column: `caller[:, i - 1]` is the newest that the model has heard when it draws
`text[i]` and `agent[:, i]`. Silence between turns is drawn from the same caller's line.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.order_line import (
    GIVE_UP,
    GREETING,
    NOBODY,
    STILL_THERE,
    Control,
    Intent,
    Line,
    OrderLine,
    Pending,
)
from model.tokenizer import TextTokenizer
from model.training.tokens_stage import AFTER_FRAMES, BEFORE_FRAMES, LibraryLine, TokenStem, TokenTurn

# Frames between the caller's last sound and the agent's first; the ear hears about 1.5 frames more.
ANSWER_FRAMES, ANSWER_WEIGHTS = (1, 2, 3), (0.15, 0.5, 0.35)
YIELD_FRAMES = (2, 3, 4)  # of the caller's speech before an interrupted agent falls silent
# Of nobody speaking before the agent asks. One moment, not a spread: text is drawn greedily, and each of
# several moments would be less likely than silence.
SILENCE_FRAMES = 52
TRANSCRIPT_DELAY = 2
BARGE_IN_SHARE = 0.25
SILENT_TURN_SHARE = 0.12
NOBODY_SHARE = 0.65


@dataclass
class Call:
    """The tokens of one call of T columns; `forced` text is input but no target."""

    agent: NDArray[np.int64]  # [K, T]
    caller: NDArray[np.int64]  # [K, T]
    text: NDArray[np.int64]  # [T] input and target
    transcript: NDArray[np.int64]  # [T] target of the caller's words
    forced: NDArray[np.bool_]  # [T] text that the runtime put there
    end: int  # columns that belong to the call


@dataclass
class _Writer:
    """A call being written, frame by frame."""

    call: Call
    started: int = 0  # first column of what the agent said last
    at: int = 0  # its end
    busy: int = 0  # first column free of caller speech


class Scriptwriter:
    """Draws calls from stems and the agent's library."""

    def __init__(self, library: Sequence[LibraryLine], tokenizer: TextTokenizer, num_columns: int) -> None:
        self.tokenizer, self.num_columns = tokenizer, num_columns
        self.silence = library[0].codes[:, 0].astype(np.int64)
        self.lines = {line.text: line for line in library[1:]}
        self._pieces: dict[str, list[int]] = {}

    def draw(self, stem: TokenStem, rng: random.Random) -> Call:
        """One call of this caller."""
        writer = _Writer(self._empty(stem, rng))
        rules = OrderLine()
        self._say(writer, GREETING, rng.randint(2, 4))
        by_intent: dict[Intent, list[TokenTurn]] = {}
        for turn in stem.turns:
            by_intent.setdefault(turn.request.intent, []).append(turn)
        while writer.at < self.num_columns - 30:
            if rng.random() < SILENT_TURN_SHARE:
                if not self._silent_turn(writer, rules, rng):
                    break
                continue
            turn = rng.choice(by_intent[self._next_intent(rules, rng, by_intent)])
            line = self._caller_turn(writer, stem, turn, rules, rng)
            if line.control is Control.HANG_UP or (
                line.control is Control.TRANSFER and not self._refused_transfer(writer, rules, rng)
            ):
                break
        writer.call.end = min(self.num_columns, max(writer.at, writer.busy) + rng.randint(8, 20))
        return writer.call

    def _empty(self, stem: TokenStem, rng: random.Random) -> Call:
        length = self.num_columns
        caller = self._idle(stem, length + 1, rng)
        cold = min(8, stem.codes.shape[1])
        caller[:, :cold] = stem.codes[:, :cold]
        return Call(
            agent=np.repeat(self.silence[:, None], length, axis=1),
            caller=caller[:, 1:],  # a call's first frame is never read
            text=np.full(length, self.tokenizer.pad, np.int64),
            transcript=np.full(length, self.tokenizer.pad, np.int64),
            forced=np.zeros(length, bool),
            end=length,
        )

    @staticmethod
    def _idle(stem: TokenStem, length: int, rng: random.Random) -> NDArray[np.int64]:
        """Frames of the caller's line alone, in short runs as they were heard: int64 [K, length]."""
        picks: list[int] = []
        while len(picks) < length:
            start = rng.randrange(len(stem.idle))
            picks += stem.idle[start : start + rng.randint(2, 6)].tolist()
        return stem.codes[:, picks[:length]].astype(np.int64)

    @staticmethod
    def _next_intent(rules: OrderLine, rng: random.Random, there: dict[Intent, list[TokenTurn]]) -> Intent:
        weights = {
            Intent.ORDER: 6.0, Intent.HOURS: 1.6, Intent.WHERE: 1.6, Intent.PERSON: 1.2, Intent.REPEAT: 1.8,
            Intent.GOODBYE: 1.0, Intent.OTHER: 0.5, Intent.YES: 0.5, Intent.NO: 0.5,
        }  # fmt: skip
        if rules.pending is Pending.CONFIRM:
            weights |= {Intent.YES: 6.0, Intent.NO: 3.0}
        elif rules.pending is Pending.MORE:
            weights |= {Intent.NO: 2.0, Intent.YES: 2.0}
        choices = [intent for intent in weights if intent in there]
        return rng.choices(choices, [weights[intent] for intent in choices])[0]

    def _caller_turn(
        self, writer: _Writer, stem: TokenStem, turn: TokenTurn, rules: OrderLine, rng: random.Random
    ) -> Line:
        """Let the caller speak, after the agent or into its sentence, and let the agent answer."""
        gap = rng.choices((rng.randint(2, 10), rng.randint(10, 24), rng.randint(24, 42)), (0.5, 0.4, 0.1))[0]
        onset = max(writer.at, writer.busy) + gap
        speaking = writer.at - writer.started
        if speaking > 12 and rng.random() < BARGE_IN_SHARE:
            onset = writer.started + rng.randint(5, speaking - 4)
            self._cut(writer, onset + 1 + rng.choice(YIELD_FRAMES))
        ended = self._hear(writer, stem, turn, onset)
        line = rules.answer(turn.request)
        self._say(writer, line, ended + 1 + rng.choices(ANSWER_FRAMES, ANSWER_WEIGHTS)[0])
        return line

    def _hear(self, writer: _Writer, stem: TokenStem, turn: TokenTurn, onset: int) -> int:
        """Place the caller's turn to be first heard at column `onset`; the column of its last sound."""
        shift = onset - turn.first
        first, last = turn.first - BEFORE_FRAMES, min(turn.last + AFTER_FRAMES, stem.codes.shape[1])
        length = self.num_columns
        source = np.arange(first, last)
        target = source + shift
        inside = (target >= 0) & (target < length)
        writer.call.caller[:, target[inside]] = stem.codes[:, source[inside]]
        at = 0
        for word, frame in turn.words:
            # caller[:, i] is read at column i + 1, where the transcript is asked a little later.
            at = max(at, frame + shift + 1 + TRANSCRIPT_DELAY)
            for piece in self._encode(word):
                if at < length:
                    writer.call.transcript[at] = piece
                at += 1
        writer.busy = turn.last + shift + AFTER_FRAMES
        return turn.last + shift

    def _say(self, writer: _Writer, line: Line, start: int) -> None:
        """Place a line of the agent from column `start` on."""
        entry = self.lines[line.text]
        length = self.num_columns
        stop = min(length, start + entry.codes.shape[1])
        writer.started = start
        if start < length:
            writer.call.agent[:, start:stop] = entry.codes[:, : stop - start]
        at = start
        for word, frame in entry.words:
            at = max(at, start + frame)
            if 0 < at <= length and writer.call.text[at - 1] == self.tokenizer.pad:
                writer.call.text[at - 1] = self.tokenizer.epad
            for piece in self._encode(word):
                if at < length:
                    writer.call.text[at] = piece
                at += 1
        end = max(start + entry.codes.shape[1] - 2, at)
        control = {Control.HANG_UP: self.tokenizer.hangup, Control.TRANSFER: self.tokenizer.transfer}
        if line.control in control and end < length:
            writer.call.text[end] = control[line.control]
        writer.at = max(end, stop)

    def _cut(self, writer: _Writer, at: int) -> None:
        """The agent falls silent at a column, its sentence unfinished."""
        if at >= self.num_columns:
            return
        writer.call.agent[:, at : writer.at + 3] = self.silence[:, None]
        writer.call.text[at : writer.at + 3] = self.tokenizer.pad
        writer.at = min(writer.at, at)

    def _silent_turn(self, writer: _Writer, rules: OrderLine, rng: random.Random) -> bool:
        """Nobody speaks, so the agent asks; if that stays so it gives up. False: the call is over."""
        self._say(writer, rules.say(STILL_THERE), max(writer.at, writer.busy) + SILENCE_FRAMES)
        if rng.random() < 0.4:
            self._say(writer, rules.say(GIVE_UP), writer.at + SILENCE_FRAMES)
            return False
        return True

    def _refused_transfer(self, writer: _Writer, rules: OrderLine, rng: random.Random) -> bool:
        """The runtime says that nobody is free, the agent passes it on. False: the caller was put through."""
        if rng.random() > NOBODY_SHARE:
            return False
        at = writer.at + rng.randint(1, 20)
        self._say(writer, rules.say(NOBODY, Pending.NOTHING), at + 2)
        if at < self.num_columns:
            writer.call.text[at] = self.tokenizer.nobody
            writer.call.forced[at] = True
        return True

    def _encode(self, word: str) -> list[int]:
        if word not in self._pieces:
            self._pieces[word] = self.tokenizer.encode(word)
        return self._pieces[word]
