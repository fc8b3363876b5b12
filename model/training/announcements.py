"""Calls in which the runtime tells the agent what to say: any words, in its own voice and time.

The runtime opens such a sentence with the token ANNOUNCE, and then gives its words one by one, each when the
model would begin a word. The text runs ahead of the sound by `LEAD_FRAMES`, so that a word which is spelt in
pieces is known before it is begun. What the words are is no target; when each begins is.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from model.order_line import Line, Pending, in_tone
from model.tokenizer import TextTokenizer
from model.training.call_writer import Call, CallWriter
from model.training.dialogues import Drawing, Scriptwriter
from model.training.tokens_stage import LibraryLine, TokenStem

LEAD_FRAMES = 2
ANNOUNCING_SHARE = 0.15  # of calls: sentences between the order line's own
READING_SHARE = 0.3  # of calls: nothing else
AFTER_LINE_SHARE = 0.5  # of lines in an announcing call
CALLER_TALKS_SHARE = 0.2  # of announcements, while they last
AT_ONCE_SHARE = 0.5  # of the calls in which nothing else is said
_AT_ONCE_COLUMNS = (1, 3)
_GAP_FRAMES = (2, 20)


def announce(writer: CallWriter, entry: LibraryLine, at: int) -> None:
    """Place a told sentence: the token ANNOUNCE at column `at`, text after it, sound `LEAD_FRAMES` later."""
    call, tokenizer, length = writer.call, writer.spelling.tokenizer, writer.num_columns
    writer.force(tokenizer.announce, at)
    start = at + 1 + LEAD_FRAMES
    stop = min(length, start + entry.codes.shape[1])
    if start < length:
        call.agent[:, start:stop] = entry.codes[:, : stop - start]
    column = at + 1
    for word, frame in entry.words:
        column = max(column, at + 1 + frame)
        _write_word(call, column, writer.spelling(word), tokenizer)
        column += len(writer.spelling(word))
    writer.started, writer.at = at, max(stop, min(column, length))


def _write_word(call: Call, column: int, pieces: Sequence[int], tokenizer: TextTokenizer) -> None:
    if column >= len(call.text):
        return
    if call.text[column - 1] == tokenizer.pad:
        call.text[column - 1] = tokenizer.epad
    call.timed[column] = True
    for place, piece in enumerate(pieces[: len(call.text) - column]):
        call.text[column + place] = piece
        call.forced[column + place] = place > 0


class AnnouncingScriptwriter(Scriptwriter):
    """Draws calls of the order line; in some the agent is told sentences of `announced` besides."""

    def __init__(
        self,
        library: Sequence[LibraryLine],
        announced: Sequence[LibraryLine],
        tokenizer: TextTokenizer,
        num_columns: int,
        *,
        hears_manner: bool = False,
    ) -> None:
        super().__init__(library, tokenizer, num_columns, hears_manner=hears_manner)
        self._announced = list(announced)

    def learn(self, announced: Iterable[LibraryLine]) -> None:
        """More sentences to be told."""
        self._announced += announced

    def draw(self, stem: TokenStem, rng: random.Random) -> Call:
        """One call of this caller."""
        writer = self.writer(stem, rng)
        if self.tokenizer.announce < 0:
            return Drawing(writer, self.tokenizer, rng, is_retoned=self.hears_manner).draw()
        kind = rng.random()
        announced = self._announced if kind < ANNOUNCING_SHARE + READING_SHARE else []
        drawing = _AnnouncingDrawing(writer, self.tokenizer, rng, announced, is_retoned=self.hears_manner)
        return drawing.read() if announced and kind < READING_SHARE else drawing.draw()


class _AnnouncingDrawing(Drawing):
    """One call while it is drawn, with told sentences where there are any to tell."""

    def __init__(
        self,
        writer: CallWriter,
        tokenizer: TextTokenizer,
        rng: random.Random,
        announced: list[LibraryLine],
        *,
        is_retoned: bool = False,
    ) -> None:
        super().__init__(writer, tokenizer, rng, is_retoned=is_retoned)
        self._announced = announced

    def read(self) -> Call:
        """A call in which the agent reads out sentences, the line quiet or the caller talking.

        In some the first comes in place of the greeting.
        """
        writer, rng = self._writer, self._rng
        if rng.random() < AT_ONCE_SHARE:
            announce(writer, rng.choice(self._announced), rng.randint(*_AT_ONCE_COLUMNS))
        else:
            writer.at = rng.randint(2, 30)
        while writer.at < writer.num_columns - 20:
            self._announce()
        return self._finish()

    def _follow_up(self, line: Line) -> bool:
        goes_on = super()._follow_up(line)
        if goes_on and self._announced and self._rng.random() < AFTER_LINE_SHARE:
            self._announce()
        return goes_on

    def _announce(self) -> None:
        writer, rng = self._writer, self._rng
        at = writer.free + rng.randint(*_GAP_FRAMES)
        announce(writer, rng.choice(self._announced), at)
        turns = [turn for some in self._turns.values() for turn in some]
        if turns and rng.random() < CALLER_TALKS_SHARE:
            writer.hear(rng.choice(turns), at + rng.randint(0, 8))

    def _look_up_line(self, told: Line, at: int) -> None:
        """What the runtime found out is told to the agent as any sentence is, where the model knows how."""
        line = self._rules.say(in_tone(told, self._tone), Pending.NOTHING)
        announce(self._writer, self._writer.library[line], at)
