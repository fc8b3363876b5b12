"""One call's tokens, placed frame by frame: what the caller is heard to say, what the agent says and when.

Index i of a call is one column: `caller[:, i - 1]` is the newest that the model has heard when it draws
`text[i]` and `agent[:, i]`. Silence between turns is drawn from the same caller's line.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.order_line import Control, Line
from model.tokenizer import TextTokenizer
from model.training.manners import MANNERS, heard_manner
from model.training.tokens_stage import AFTER_FRAMES, BEFORE_FRAMES, LibraryLine, TokenStem, TokenTurn

TRANSCRIPT_DELAY = 2
WORD_GAP_FRAMES = 3  # of silence inside what the agent says; a longer one is the end of it


@dataclass
class Call:
    """The tokens of one call of T columns; `forced` text is input but no target, of `timed` text only when it
    comes is one."""

    agent: NDArray[np.int64]  # [K, T]
    caller: NDArray[np.int64]  # [K, T], one row more in a model that hears how it is said
    text: NDArray[np.int64]  # [T] input and target
    transcript: NDArray[np.int64]  # [T] target of the caller's words
    forced: NDArray[np.bool_]  # [T] text that the runtime put there
    end: int  # columns that belong to the call
    # [T] first pieces of words that the runtime chose, at moments that the model does; by default none
    timed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    # [T] what a model that reads its transcript is given of it; by default all of it
    read_back: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    # The words of each turn that was written down, and of each line, with their columns.
    turns: list[tuple[list[str], slice]] = field(default_factory=list)
    lines: list[tuple[list[str], slice]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not len(self.read_back):
            self.read_back = self.transcript
        if not len(self.timed):
            self.timed = np.zeros(len(self.text), bool)


class Library:
    """The agent's sentences as tokens, by what they say and how, and the spelling of words."""

    def __init__(self, lines: Mapping[tuple[str, bool], LibraryLine], silence: NDArray[np.int64]) -> None:
        self._lines, self.silence = lines, silence

    def __contains__(self, line: Line) -> bool:
        return (line.text, line.is_soft) in self._lines

    def __getitem__(self, line: Line) -> LibraryLine:
        return self._lines[line.text, line.is_soft]

    def num_frames(self, line: Line) -> int:
        """How long a line lasts."""
        return int(self[line].codes.shape[1])


class Spelling:
    """Words as text tokens, remembered."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer
        self._pieces: dict[str, list[int]] = {}
        tokens = {
            Control.HANG_UP: tokenizer.hangup,
            Control.TRANSFER: tokenizer.transfer,
            Control.DELEGATE: tokenizer.delegate,
        }
        self.controls = {control: token for control, token in tokens.items() if token >= 0}

    def __call__(self, word: str) -> list[int]:
        """The tokens of a word."""
        if word not in self._pieces:
            self._pieces[word] = self.tokenizer.encode(word)
        return self._pieces[word]


class CallWriter:
    """A call being written: `started` and `at` bound what the agent said last, `busy` what the caller did.

    With `hears_manner` the caller has one stream more, of how it is said (`model.prosody`).
    """

    def __init__(
        self,
        stem: TokenStem,
        library: Library,
        spelling: Spelling,
        num_columns: int,
        rng: random.Random,
        *,
        hears_manner: bool = False,
    ) -> None:
        self.stem, self.library, self.spelling, self.num_columns = stem, library, spelling, num_columns
        self.started = self.at = self.busy = 0
        caller = self._idle(num_columns + 1, rng)
        cold = min(8, stem.codes.shape[1])
        caller[:, :cold] = stem.codes[:, :cold]
        caller = caller[:, 1:]  # a call's first frame is never read
        pad = spelling.tokenizer.pad
        self._is_heard = np.zeros(num_columns, bool)
        self._rng = rng
        self._manner = np.zeros(num_columns, np.int64) if hears_manner else None
        self.call = Call(
            agent=np.repeat(library.silence[:, None], num_columns, axis=1),
            caller=caller,
            text=np.full(num_columns, pad, np.int64),
            transcript=np.full(num_columns, pad, np.int64),
            forced=np.zeros(num_columns, bool),
            end=num_columns,
        )

    @property
    def free(self) -> int:
        """The first column after everything that was said."""
        return max(self.at, self.busy)

    @property
    def is_alone(self) -> bool:
        """Whether nothing was heard over the line that was said last.

        What it answers may have its last frames there: an answer comes sooner than those are over.
        """
        return self.busy <= self.started + AFTER_FRAMES

    def _idle(self, length: int, rng: random.Random) -> NDArray[np.int64]:
        """Frames of the caller's line alone, in short runs as they were heard: int64 [K, length]."""
        picks: list[int] = []
        while len(picks) < length:
            start = rng.randrange(len(self.stem.idle))
            picks += self.stem.idle[start : start + rng.randint(2, 6)].tolist()
        return self.stem.codes[:, picks[:length]].astype(np.int64)

    def hear(self, turn: TokenTurn, onset: int) -> int:
        """Place the caller's turn to be first heard at column `onset`; the column of its last sound."""
        shift = onset - turn.first
        first, last = turn.first - BEFORE_FRAMES, min(turn.last + AFTER_FRAMES, self.stem.codes.shape[1])
        source = np.arange(first, last)
        target = source + shift
        inside = (target >= 0) & (target < self.num_columns)
        self.call.caller[:, target[inside]] = self.stem.codes[:, source[inside]]
        self._is_heard[target[inside]] = True
        if self._manner is not None:
            manner = MANNERS[turn.request.tone] if turn.request is not None else None
            told = heard_manner(manner, turn.last + 1 - turn.first, self._rng)
            place = slice(max(0, onset), max(0, onset + len(told)))
            self._manner[place] = told[max(0, -onset) :][: len(self._manner[place])]
        if turn.request is not None:
            self._write_down(turn, shift)
        self.busy = max(self.busy, turn.last + shift + AFTER_FRAMES)
        return turn.last + shift

    def _write_down(self, turn: TokenTurn, shift: int) -> None:
        at, first = 0, self.num_columns
        for word, frame in turn.words:
            # caller[:, i] is read at column i + 1, where the transcript is asked a little later.
            at = max(at, frame + shift + 1 + TRANSCRIPT_DELAY)
            first = min(first, at)
            for piece in self.spelling(word):
                if at < self.num_columns:
                    self.call.transcript[at] = piece
                at += 1
        self.call.turns.append(([word for word, _ in turn.words], slice(first, at)))

    def say(self, line: Line, start: int, *, is_told: bool = False) -> None:
        """Place a line of the agent from column `start` on.

        A line that it is told by the runtime is spoken by the model, not worded by it: the words, and the
        mark before the first, are no targets. When the words within come stays the model's to learn.
        """
        entry = self.library[line]
        length, tokenizer = self.num_columns, self.spelling.tokenizer
        stop = min(length, start + entry.codes.shape[1])
        self.started = start
        if start < length:
            self.call.agent[:, start:stop] = entry.codes[:, : stop - start]
        at = start
        for place, (word, frame) in enumerate(entry.words):
            at = max(at, start + frame)
            if 0 < at <= length and self.call.text[at - 1] == tokenizer.pad:
                self.call.text[at - 1] = tokenizer.epad
                self.call.forced[at - 1] |= is_told and place == 0
            for piece in self.spelling(word):
                if at < length:
                    self.call.text[at] = piece
                    self.call.forced[at] |= is_told
                at += 1
        end = max(start + entry.codes.shape[1] - 2, at)
        if line.control in self.spelling.controls and end < length:
            self.call.text[end] = self.spelling.controls[line.control]
        self.call.lines.append(([word for word, _ in entry.words], slice(start, max(end, stop))))
        self.at = max(end, stop)

    def force(self, token: int, at: int) -> None:
        """A token that the runtime puts into the text."""
        if at < self.num_columns:
            self.call.text[at] = token
            self.call.forced[at] = True

    def cut(self, at: int) -> None:
        """The agent falls silent at a column, its sentence unfinished."""
        if at >= self.num_columns:
            return
        stop = self.at + 3
        self.call.agent[:, at:stop] = self.library.silence[:, None]
        self.call.text[at:stop] = self.spelling.tokenizer.pad
        self.call.forced[at:stop] = False
        self.call.timed[at:stop] = False
        if self.call.lines:
            words, columns = self.call.lines[-1]
            self.call.lines[-1] = words, slice(columns.start, min(at, columns.stop))
        self.at = min(self.at, at)

    def echo(self, spans: Sequence[TokenTurn], rng: random.Random) -> None:
        """Let the agent's voice come back while it speaks, where nothing else is heard of the caller's side.

        `spans` are turns of the stem that hold an echo. To be called when all else is placed.
        """
        for first, last in self._spoken():
            at, end = first + 1, last + 2  # what a column says is heard in the next at the earliest
            while at < end:
                span = rng.choice(spans)
                source = np.arange(span.first, min(span.last + 1, span.first + end - at))
                target = at + source - span.first
                free = target < self.num_columns
                free[free] = ~self._is_heard[target[free]]
                self.call.caller[:, target[free]] = self.stem.codes[:, source[free]]
                if self._manner is not None:  # the listener hears a voice there
                    self._manner[target[free]] = heard_manner(None, len(source), rng)[: len(source)][free]
                at += len(source)

    def _spoken(self) -> list[tuple[int, int]]:
        """First and last column of each stretch of the agent's speech."""
        speaking = np.flatnonzero((self.call.agent != self.library.silence[:, None]).any(0))
        stretches = np.split(speaking, np.flatnonzero(np.diff(speaking) > WORD_GAP_FRAMES) + 1)
        return [(int(columns[0]), int(columns[-1])) for columns in stretches if len(columns)]

    def finish(self, rng: random.Random) -> Call:
        """The call, with a little of the line after its last word."""
        self.call.end = min(self.num_columns, self.free + rng.randint(8, 20))
        if self._manner is not None:
            self.call.caller = np.concatenate([self.call.caller, self._manner[None]])
        return self.call
