"""Whole calls assembled from tokens: what callers do in them, the agent's answers by rule, their timing."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.order_line import (
    GIVE_UP,
    GREETING,
    LOOKED_UP,
    MM_HM,
    NOBODY,
    STILL_THERE,
    UNKNOWN,
    Control,
    Intent,
    Line,
    OrderLine,
    Pending,
    Tone,
    in_tone,
)
from model.requests import is_long
from model.tokenizer import TextTokenizer
from model.training.bank import ECHO
from model.training.call_writer import Call, CallWriter, Library, Spelling
from model.training.moods import Mood
from model.training.tokens_stage import AFTER_FRAMES, BEFORE_FRAMES, LibraryLine, TokenStem, TokenTurn

__all__ = ["Call", "Drawing", "Scriptwriter"]

# Frames between the caller's last sound and the agent's first; the ear hears about 1.5 frames more. Text is
# drawn greedily, so a share is a threshold: at 0.55 the agent begins at once where it is surer than
# 0.5 / 0.55 that the turn is over, else it waits for what the next frame brings, and begins where it is surer
# than 0.5 / (0.32 / 0.45). The late moments are for turns that looked unfinished and were not: an agent that
# never saw an answer come late would wait for ever.
ANSWER_FRAMES, ANSWER_WEIGHTS = (0, 1, 2, 8, 16), (0.55, 0.32, 0.1, 0.02, 0.01)
# Of the caller's speech before an interrupted agent falls silent: two where it is surer than 0.77 that this
# is meant for it, else three. Text is drawn greedily, so a moment must be likelier than not among those who
# still talk: three moments, the last of them rare, were one that never came.
YIELD_FRAMES, YIELD_WEIGHTS = (2, 3), (0.65, 0.35)
# Of a line before anything is heard over it: by then the end of what it answers is over.
ALONE_FRAMES = BEFORE_FRAMES + AFTER_FRAMES - 1
# Of silence at least before an interrupted agent goes on: a shorter one is a break in what it says, no stop.
STOP_FRAMES = 4
# Of nobody speaking before the agent asks. One moment, not a spread: text is drawn greedily, and each of
# several moments would be less likely than silence.
SILENCE_FRAMES = 52
NOD_FRAMES = 7  # of a pause in a long order before the agent hums: one moment, for the same reason
LOOK_UP_FRAMES = (4, 44)  # from "One moment." to what the runtime has the agent say
BARGE_IN_SHARE = 0.45  # of turns after a longer line over which nothing was heard
SILENT_TURN_SHARE = 0.12
NOBODY_SHARE = 0.65
BACKCHANNEL_SHARE = 0.2  # of the agent's longer lines, callers' hums over them
DISTRACTOR_SHARE = 0.33  # of turns, where the stem has distractors
# Of a distractor in a silence: a longer one would hide the agent's question.
LONGEST_ALONE_FRAMES = SILENCE_FRAMES - 12
GIVE_UP_SHARE = 0.4  # of callers who were asked whether they are there
WAIT_OUT_SHARE = 0.5  # of callers with nothing more to say: they say nothing; the others hang up
# What one caller says once in a call, as they said it: nobody orders the same six times in the same breath.
SAID_ONCE = frozenset({Intent.ORDER, Intent.NUMBER})
RETONED_SHARE = 0.5  # of turns, in a model that is told how they are said
# Of turns said in one breath, where the caller has such a turn: a bank's callers pause in most of theirs, and
# a model that heard no others waited at ends that sound like a pause.
ONE_BREATH_SHARE = 0.5
INTENT_WEIGHTS = {
    Intent.ORDER: 6.0, Intent.CHANGE: 1.6, Intent.NUMBER: 3.0, Intent.HOURS: 1.4, Intent.WHERE: 1.4,
    Intent.PERSON: 1.0, Intent.REPEAT: 1.8, Intent.GOODBYE: 1.0, Intent.CANCEL: 0.6, Intent.STATUS: 1.2,
    Intent.OTHER: 0.6, Intent.UNCLEAR: 0.5, Intent.YES: 0.5, Intent.NO: 0.5,
}  # fmt: skip
# What callers say sooner when the agent has asked this.
ASKED_WEIGHTS = {
    Pending.NOTHING: {},
    Pending.CONFIRM: {Intent.YES: 6.0, Intent.NO: 3.0, Intent.CHANGE: 5.0},
    Pending.NUMBER: {Intent.YES: 6.0, Intent.NO: 3.0},
    Pending.MORE: {Intent.NO: 2.0, Intent.YES: 2.0, Intent.CHANGE: 1.5},
}  # fmt: skip


class Scriptwriter:
    """Draws calls from stems and the agent's library."""

    def __init__(
        self,
        library: Sequence[LibraryLine],
        tokenizer: TextTokenizer,
        num_columns: int,
        *,
        hears_manner: bool = False,
    ) -> None:
        """`hears_manner`: the caller's last stream tells how they speak."""
        self.tokenizer, self.num_columns, self.hears_manner = tokenizer, num_columns, hears_manner
        self.silence = library[0].codes[:, 0].astype(np.int64)
        self.library = Library({(line.text, line.is_soft): line for line in library[1:]}, self.silence)
        self.spelling = Spelling(tokenizer)

    def draw(self, stem: TokenStem, rng: random.Random) -> Call:
        """One call of this caller."""
        return Drawing(self.writer(stem, rng), self.tokenizer, rng, is_retoned=self.hears_manner).draw()

    def writer(self, stem: TokenStem, rng: random.Random) -> CallWriter:
        """An empty call on this caller's line."""
        return CallWriter(
            stem, self.library, self.spelling, self.num_columns, rng, hears_manner=self.hears_manner
        )


class Drawing:
    """One call while it is drawn.

    `is_retoned`: in some turns the tone is another than that of the sound. Codes of a caller's sounds tell
    nothing of it, so the stream that does may say anything, and the answer follows that. Read-backs are
    whispered to callers whose sound is a whisper alone: the library has no more of them.
    """

    def __init__(
        self, writer: CallWriter, tokenizer: TextTokenizer, rng: random.Random, *, is_retoned: bool = False
    ) -> None:
        self._writer, self._tokenizer, self._rng = writer, tokenizer, rng
        self._is_retoned = is_retoned
        self._rules = OrderLine()
        self._turns: dict[Intent, list[TokenTurn]] = {}
        self._distractors: list[TokenTurn] = []
        self._echoes: list[TokenTurn] = []
        self._mood = Mood(writer.stem.turns, rng)
        self._tone = Tone.CALM  # of what the caller said last, which is all that the agent knows of it
        for turn in writer.stem.turns:
            if turn.request is not None:
                self._turns.setdefault(turn.request.intent, []).append(turn)
            elif turn.kind == ECHO:
                self._echoes.append(turn)
            else:
                self._distractors.append(turn)

    def draw(self) -> Call:
        writer, rng = self._writer, self._rng
        writer.say(GREETING, rng.randint(2, 4))
        while writer.at < writer.num_columns - 30:
            if rng.random() < SILENT_TURN_SHARE:
                if not self._silent_turn(GIVE_UP_SHARE):
                    break
                continue
            self._distract()
            turn = self._next_turn()
            if turn is None:
                if rng.random() < WAIT_OUT_SHARE:
                    self._silent_turn(give_up_share=1.0)
                break
            assert turn.request is not None
            if turn.request.intent in SAID_ONCE:
                self._turns[turn.request.intent].remove(turn)
            if not self._follow_up(self._caller_turn(self._retoned(turn))):
                break
        return self._finish()

    def _finish(self) -> Call:
        """The call; on a loudspeaker all that the agent said comes back, and it goes on all the same."""
        if self._echoes:
            self._writer.echo(self._echoes, self._rng)
        return self._writer.finish(self._rng)

    def _next_turn(self) -> TokenTurn | None:
        """What the caller says next, among what they can say and the agent can answer."""
        weights = INTENT_WEIGHTS | ASKED_WEIGHTS[self._rules.pending]
        there = {
            intent: turns
            for intent in weights
            if (turns := [turn for turn in self._turns.get(intent, ()) if self._can_answer(turn)])
        }
        if not there:
            return None
        intent = self._rng.choices(list(there), [weights[intent] for intent in there])[0]
        turns = self._mood.pick(there[intent])
        if self._rng.random() < ONE_BREATH_SHARE:
            turns = [turn for turn in turns if not turn.pauses] or turns
        return self._rng.choice(turns)

    def _can_answer(self, turn: TokenTurn) -> bool:
        assert turn.request is not None
        return copy.copy(self._rules).answer(turn.request) in self._writer.library

    def _retoned(self, turn: TokenTurn) -> TokenTurn:
        """The turn, at times as if said in another tone, where the agent has an answer to that."""
        if not self._is_retoned or self._rng.random() >= RETONED_SHARE:
            return turn
        assert turn.request is not None
        other = replace(turn, request=replace(turn.request, tone=self._rng.choice(list(Tone))))
        return other if self._can_answer(other) else turn

    def _caller_turn(self, turn: TokenTurn) -> Line:
        """Let the caller speak, after the agent or into its sentence, and let the agent answer."""
        writer, rng = self._writer, self._rng
        gap = rng.choices((rng.randint(2, 10), rng.randint(10, 24), rng.randint(24, 42)), (0.5, 0.4, 0.1))[0]
        onset, earliest = writer.free + gap, 0
        speaking = writer.at - writer.started
        if speaking > 12 and writer.is_alone and rng.random() < BARGE_IN_SHARE:
            onset = writer.started + rng.randint(ALONE_FRAMES, speaking - 4)
            cut = onset + 1 + rng.choices(YIELD_FRAMES, YIELD_WEIGHTS)[0]
            writer.cut(cut)
            earliest = cut + STOP_FRAMES
        ended = writer.hear(turn, onset)
        assert turn.request is not None
        self._tone = turn.request.tone
        self._nod(turn, onset)
        line = self._rules.answer(turn.request)
        writer.say(line, max(earliest, ended + 1 + rng.choices(ANSWER_FRAMES, ANSWER_WEIGHTS)[0]))
        self._mood.after(turn.request.intent)
        return line

    def _nod(self, turn: TokenTurn, onset: int) -> None:
        """The agent hums while a long order pauses, where what was said is unfinished."""
        assert turn.request is not None
        hum = in_tone(MM_HM, self._tone)
        shift = onset - turn.first
        for first, last in turn.pauses:
            words = [word for word, frame in turn.words if frame <= first]
            start = first + shift + 1 + NOD_FRAMES
            is_due = last - first >= NOD_FRAMES and len(words) in turn.request.incomplete_words()
            is_over = start + self._writer.library.num_frames(hum) <= turn.last + shift
            if turn.request.intent is Intent.ORDER and is_due and is_over and is_long(" ".join(words)):
                self._writer.say(hum, start)

    def _follow_up(self, line: Line) -> bool:
        """What comes of a line by itself. False: the call is over."""
        if line.control is Control.HANG_UP:
            return False
        if line.control is Control.TRANSFER:
            return self._refused_transfer()
        if line.control is Control.DELEGATE:
            self._look_up()
        self._hum_over()
        return True

    def _hum_over(self) -> None:
        """The caller hums agreement while the agent speaks, which goes on."""
        writer, rng = self._writer, self._rng
        turns = self._turns.get(Intent.BACKCHANNEL)
        if not turns or rng.random() >= BACKCHANNEL_SHARE:
            return
        turn = rng.choice(turns)
        earliest, latest = writer.started + ALONE_FRAMES, writer.at - (turn.last - turn.first) - 6
        if latest > earliest:
            writer.hear(turn, rng.randint(earliest, latest))

    def _distract(self) -> None:
        """A sound on the caller's side, over the agent's speech or in a silence: nothing comes of it."""
        writer, rng = self._writer, self._rng
        if not self._distractors or rng.random() >= DISTRACTOR_SHARE:
            return
        turn = rng.choice(self._distractors)
        length = turn.last - turn.first
        if writer.is_alone and writer.at - writer.started > 12 and rng.random() < 0.6:
            writer.hear(turn, rng.randint(writer.started + ALONE_FRAMES, writer.at - 6))
        elif length <= LONGEST_ALONE_FRAMES and writer.busy <= writer.at:
            writer.hear(turn, writer.free + rng.randint(2, SILENCE_FRAMES - 10 - length))

    def _silent_turn(self, give_up_share: float) -> bool:
        """Nobody speaks, so the agent asks; if that stays so it gives up. False: the call is over."""
        for line in (STILL_THERE, GIVE_UP):
            if line is GIVE_UP and self._rng.random() >= give_up_share:
                return True
            said = self._rules.say(in_tone(line, self._tone))
            self._writer.say(said, self._writer.free + SILENCE_FRAMES)
        return False

    def _refused_transfer(self) -> bool:
        """The runtime says that nobody is free, the agent passes it on. False: the caller was put through."""
        if self._rng.random() > NOBODY_SHARE:
            return False
        at = self._writer.at + self._rng.randint(1, 20)
        self._writer.say(self._rules.say(in_tone(NOBODY, self._tone), Pending.NOTHING), at + 2)
        self._writer.force(self._tokenizer.nobody, at)
        return True

    def _look_up(self) -> None:
        """The runtime has the agent say what it was asked to find out, in words that are not the agent's."""
        told = self._rng.choice((*LOOKED_UP, UNKNOWN))
        self._look_up_line(told, self._writer.at + self._rng.randint(*LOOK_UP_FRAMES))

    def _look_up_line(self, told: Line, at: int) -> None:
        line = self._rules.say(in_tone(told, self._tone), Pending.NOTHING)
        self._writer.say(line, at, is_told=True)
