"""Calls put together from tokens: read back from their tokens alone, they are what the rules say, in time."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from model.order_line import (
    AGENT_LINES,
    DELEGATE,
    GIVE_UP,
    GREETING,
    LOOKED_UP,
    MM_HM,
    NOBODY,
    STILL_THERE,
    TRANSFER,
    UNKNOWN,
    Control,
    Intent,
    Line,
    OrderLine,
    Pending,
    readback,
)
from model.tokenizer import TextTokenizer
from model.training.call_writer import TRANSCRIPT_DELAY
from model.training.dialogues import (
    ANSWER_FRAMES,
    LOOK_UP_FRAMES,
    NOD_FRAMES,
    SILENCE_FRAMES,
    STOP_FRAMES,
    YIELD_FRAMES,
    Call,
    Scriptwriter,
)
from model.training.tokens_stage import AFTER_FRAMES, BEFORE_FRAMES, TokenTurn
from tests.model.training import made

NUM_COLUMNS = 480
NUM_CALLS = 170
STEM = made.stem()
TOLD = {line.text for line in (*LOOKED_UP, UNKNOWN)}
LIBRARY = made.agent_library()
LENGTHS = {line.text: int(line.codes.shape[1]) for line in LIBRARY}
IDLE = set(STEM.idle.tolist())


@dataclass(frozen=True)
class Heard:
    """A turn of the caller's, from its first sound to its last."""

    column: int
    turn: TokenTurn

    @property
    def last(self) -> int:
        return self.column + self.turn.last - self.turn.first


@dataclass(frozen=True)
class Said:
    """A line of the agent's, as far as it was played."""

    column: int
    text: str
    num_frames: int

    @property
    def stop(self) -> int:
        return self.column + self.num_frames

    @property
    def whole_stop(self) -> int:
        """Where it ends, or would have ended."""
        return self.column + LENGTHS[self.text]


@pytest.fixture(scope="module")
def words(alphabet: TextTokenizer) -> TextTokenizer:
    return alphabet


@pytest.fixture(scope="module")
def calls(words: TextTokenizer) -> list[Call]:
    writer = Scriptwriter(LIBRARY, words, NUM_COLUMNS)
    return [writer.draw(STEM, random.Random(seed)) for seed in range(NUM_CALLS)]


def _heard(call: Call) -> list[Heard]:
    found = [
        Heard(int(column), turn)
        for turn in STEM.turns
        for column in np.flatnonzero(call.caller[0] == turn.first)
    ]
    return sorted(found, key=lambda heard: heard.column)


def _said(call: Call) -> list[Said]:
    found = []
    for column in np.flatnonzero(call.agent[1] == 1).tolist():
        number = int(call.agent[0, column])
        stop = column
        while stop < NUM_COLUMNS and call.agent[:, stop].tolist() == [number, stop - column + 1]:
            stop += 1
        found.append(Said(column, LIBRARY[number].text, stop - column))
    return found


def _is_hum(event: Heard | Said) -> bool:
    """Agreement that is hummed while the other speaks or thinks, by either side."""
    if isinstance(event, Said):
        return event.text == MM_HM.text
    return event.turn.request is None or event.turn.request.intent is Intent.BACKCHANNEL


def _events(call: Call) -> list[Heard | Said]:
    """Turns and lines; hums and distractors are none."""
    events: list[Heard | Said] = [*_heard(call), *_said(call)]
    return sorted((event for event in events if not _is_hum(event)), key=lambda event: event.column)


def _interruptions(call: Call) -> Iterator[tuple[Said, Heard]]:
    """Turns that begin while a line is being said, late enough in it to be answered by silence here."""
    for said, heard in pairwise(_events(call)):
        if isinstance(said, Said) and isinstance(heard, Heard) and heard.column < said.whole_stop:
            if heard.column + max(YIELD_FRAMES) + 1 < NUM_COLUMNS:
                yield said, heard


def _unprompted(rules: OrderLine, said: Said, before: str) -> None:
    """What the agent may say without being asked."""
    if said.text == NOBODY.text:
        assert before == TRANSFER.text
        rules.say(NOBODY, Pending.NOTHING)
    elif said.text in TOLD:
        assert before == DELEGATE.text
        rules.say(Line(said.text), Pending.NOTHING)
    else:
        assert said.text == STILL_THERE.text or (said.text == GIVE_UP.text and before == STILL_THERE.text)


def test_every_answer_is_the_rules(calls: list[Call]) -> None:
    num_answers = 0
    for call in calls:
        rules, asked, before = OrderLine(), None, ""
        for event in _events(call):
            if isinstance(event, Heard):
                assert asked is None, "a turn was left without an answer"
                asked = event
            elif not before:
                assert event.text == GREETING.text and event.column in range(2, 5)
                before = event.text
            elif asked is None:
                _unprompted(rules, event, before)
                before = event.text
            else:
                assert asked.turn.request is not None
                assert event.text == rules.answer(asked.turn.request).text
                waited = event.column - (asked.last + 1)
                after_stop = [asked.column + 1 + frames + STOP_FRAMES for frames in YIELD_FRAMES]
                assert waited in ANSWER_FRAMES or event.column in after_stop, "else once it was cut short"
                asked, before = None, event.text
                num_answers += 1
        assert asked is None or asked.last + 1 + max(ANSWER_FRAMES) >= NUM_COLUMNS
    assert num_answers > 3 * NUM_CALLS


def test_the_caller_is_whole_and_else_there_is_only_their_line(calls: list[Call]) -> None:
    for call in calls:
        rest = np.ones(NUM_COLUMNS, bool)
        rest[:7] = False
        rest[NUM_COLUMNS - BEFORE_FRAMES :] = False  # perhaps the lead of a turn that begins after the end
        cold = min([7, *(heard.column - BEFORE_FRAMES for heard in _heard(call))])
        assert call.caller[0, :cold].tolist() == list(range(1, 1 + cold)), "its first frame is not read"
        for heard in _heard(call):
            first, stop = heard.turn.first - BEFORE_FRAMES, heard.turn.last + AFTER_FRAMES
            column = heard.column - BEFORE_FRAMES
            num_frames = min(stop - first, NUM_COLUMNS - column)
            played = call.caller[0, column : column + num_frames].tolist()
            assert played == list(range(first, first + num_frames))
            rest[column : column + num_frames] = False
        assert set(call.caller[0, rest].tolist()) <= IDLE
        assert (call.caller[1] == 1).all()


def test_words_are_written_down_once_they_were_heard(calls: list[Call], words: TextTokenizer) -> None:
    """Column i is drawn from caller frames up to i - 1."""
    for call in calls:
        wanted = np.full(NUM_COLUMNS, words.pad)
        for heard in _heard(call):
            at = 0
            for word, frame in heard.turn.words:
                ends = heard.column + frame - heard.turn.first
                at = max(at, ends + 1 + TRANSCRIPT_DELAY)
                for piece in words.encode(word):
                    wanted[at : at + 1] = piece
                    at += 1
        np.testing.assert_array_equal(call.transcript, wanted)


def test_an_interrupted_line_is_cut_short_and_its_text_stops(calls: list[Call], words: TextTokenizer) -> None:
    num_cut = 0
    for call in calls:
        for said, heard in _interruptions(call):
            if said.stop == said.whole_stop:
                assert heard.column + 1 + max(YIELD_FRAMES) >= said.whole_stop, "it was talked over"
                continue
            num_cut += 1
            assert said.stop - (heard.column + 1) in YIELD_FRAMES
            answer = max(said.stop + STOP_FRAMES, heard.last + 1 + min(ANSWER_FRAMES))
            if heard.turn.pauses:
                continue  # the agent hums in it
            assert not call.agent[:, said.stop : answer].any()
            assert set(call.text[said.stop : answer - 1].tolist()) <= {words.pad}
    assert num_cut > 20


def test_answers_that_came_at_once_are_interrupted_too(calls: list[Call]) -> None:
    """What an answer is to is still being heard when it begins: that is nothing said over it."""
    num_prompt = num_interrupted = 0
    for call in calls:
        interrupted = [said for said, _ in _interruptions(call)]
        for heard, said in pairwise(_events(call)):
            if isinstance(heard, Heard) and isinstance(said, Said) and said.whole_stop - said.column > 12:
                if said.column - (heard.last + 1) <= 2:
                    num_prompt += 1
                    num_interrupted += said in interrupted
    assert num_prompt > 100 and num_interrupted > 0.15 * num_prompt


def test_a_line_that_nobody_interrupts_is_said_whole_with_its_words(
    calls: list[Call], words: TextTokenizer
) -> None:
    for call in calls:
        interrupted = [said for said, _ in _interruptions(call)]
        for said in _said(call):
            if said in interrupted or said.whole_stop > NUM_COLUMNS:
                continue
            assert said.stop == said.whole_stop
            text = call.text[: said.stop]
            for place, word in enumerate(said.text.split()):
                pieces = words.encode(word)
                at = said.column + made.LINE_WORD_FRAMES * place
                assert text[at : at + len(pieces)].tolist() == pieces
                gap = len(words.encode(said.text.split()[place - 1])) < made.LINE_WORD_FRAMES
                assert text[at - 1] == words.epad or not gap
            plain = " ".join(said.text.lower().replace(".", "").replace("?", "").replace(",", "").split())
            assert words.decode(text[said.column :].tolist()) == plain.replace("-", " ")


def test_silence_is_asked_about_and_then_given_up(calls: list[Call]) -> None:
    counts = {STILL_THERE.text: 0, GIVE_UP.text: 0}
    for call in calls:
        events = _events(call)
        for before, event in pairwise(events):
            if isinstance(event, Said) and event.text in counts:
                assert isinstance(before, Said)
                assert event.column - before.stop == SILENCE_FRAMES
                counts[event.text] += 1
    assert counts[STILL_THERE.text] > counts[GIVE_UP.text] > 0


def test_a_line_that_ends_the_call_says_so_at_its_end(calls: list[Call], words: TextTokenizer) -> None:
    tokens = {Control.HANG_UP: words.hangup, Control.TRANSFER: words.transfer}
    controls = {line.text: line.control for line in (*_lines(), TRANSFER)}
    seen = dict.fromkeys(tokens.values(), 0)
    for call in calls:
        wanted = {}
        for said in _said(call):
            control = controls.get(said.text, Control.NONE)
            if control in tokens and said.whole_stop - 2 < NUM_COLUMNS:
                wanted[said.whole_stop - 2] = tokens[control]
        found = {i: t for i, t in enumerate(call.text.tolist()) if t in tokens.values()}
        assert found == wanted
        for column, token in found.items():
            seen[token] += 1
            if token == words.hangup:
                assert column == max(found)
                assert min(column + 3, NUM_COLUMNS) <= call.end <= column + 2 + 20
    assert all(count > 3 for count in seen.values())


def _lines() -> list[Line]:
    return [line for line in AGENT_LINES if line.control is Control.HANG_UP]


def test_nobody_is_free_only_where_the_runtime_says_so(calls: list[Call], words: TextTokenizer) -> None:
    num_refused = num_through = 0
    for call in calls:
        forced = np.flatnonzero(call.text == words.nobody).tolist()
        assert call.forced[forced].all()
        passed_on = [
            said.column
            for before, said in pairwise(_said(call))
            if before.text == TRANSFER.text and said.text == NOBODY.text
        ]
        assert passed_on == [column + 2 for column in forced if column + 2 < NUM_COLUMNS]
        num_refused += len(forced)
        lines = _said(call)
        if lines[-1].text == TRANSFER.text and lines[-1].whole_stop + 30 < NUM_COLUMNS:
            num_through += 1
            assert call.end <= lines[-1].whole_stop + 20, "a call that was put through is over"
    assert num_refused > 3 and num_through > 3


def test_what_was_looked_up_is_said_but_not_learnt(calls: list[Call], words: TextTokenizer) -> None:
    """Its words and the mark before them are the runtime's; the pads between words stay targets."""
    num_told = 0
    for call in calls:
        forced = call.text == words.nobody
        for before, said in pairwise(_said(call)):
            if before.text != DELEGATE.text or said.text not in TOLD:
                continue
            num_told += 1
            asked = before.whole_stop - 2
            assert call.text[asked] == words.delegate and not call.forced[asked]
            assert said.column - before.whole_stop in range(LOOK_UP_FRAMES[0], LOOK_UP_FRAMES[1] + 1)
            span = slice(said.column, min(said.stop, NUM_COLUMNS))
            forced[span] |= ~np.isin(call.text[span], [words.pad, words.epad])
            forced[said.column - 1] |= call.text[said.column - 1] == words.epad
        cut = call.text == words.pad  # an interruption takes words and their marks away
        np.testing.assert_array_equal(call.forced, forced & ~cut)
    assert num_told > 10


def test_callers_hum_while_the_agent_speaks_and_it_goes_on(calls: list[Call]) -> None:
    num_hums = 0
    for call in calls:
        for hum in (heard for heard in _heard(call) if _is_hum(heard)):
            over = [said for said in _said(call) if said.column < hum.column][-1]
            assert hum.last + 6 <= over.whole_stop
            assert over.stop == min(over.whole_stop, NUM_COLUMNS), "it stopped"
            num_hums += 1
    assert num_hums > 20


def test_the_agent_hums_while_a_long_order_pauses(calls: list[Call]) -> None:
    num_hums = 0
    for call in calls:
        hums = [said.column for said in _said(call) if _is_hum(said)]
        pauses = [
            heard.column + heard.turn.pauses[0][0] - heard.turn.first
            for heard in _heard(call)
            if heard.turn.pauses
        ]
        assert hums == [at for first in pauses if (at := first + 1 + NOD_FRAMES) < NUM_COLUMNS]
        num_hums += len(hums)
    assert num_hums > 10


def test_distractors_change_nothing(words: TextTokenizer) -> None:
    """Coughs over the agent's speech do not stop it, coughs in a silence get no answer."""
    noisy = made.stem((*made.REQUESTS[5:10], None, None))
    coughs = [turn.first for turn in noisy.turns if turn.request is None]
    writer = Scriptwriter(LIBRARY, words, NUM_COLUMNS)
    over = alone = 0
    for seed in range(60):
        call = writer.draw(noisy, random.Random(seed))
        spans = [(said.column, said.whole_stop, said.stop) for said in _said(call)]
        turns = sorted(
            int(at)
            for turn in noisy.turns
            if turn.request
            for at in np.flatnonzero(call.caller[0] == turn.first)
        )
        for at in np.flatnonzero(np.isin(call.caller[0], coughs)).tolist():
            around = [span for span in spans if span[0] < at < span[1]]
            over, alone = over + bool(around), alone + (not around)
            for start, whole, stop in around:
                assert stop == min(whole, NUM_COLUMNS) or any(start < turn < whole for turn in turns)
            before = [turn for turn in turns if turn < at]
            assert around or not before or any(before[-1] < start < at for start, _, _ in spans)
    assert over > 10 and alone > 10


@pytest.mark.parametrize("num_columns", [40, 97, 150, NUM_COLUMNS])
def test_nothing_is_written_past_the_end(words: TextTokenizer, num_columns: int) -> None:
    writer = Scriptwriter(LIBRARY, words, num_columns)
    ends = []
    for seed in range(20):
        call = writer.draw(STEM, random.Random(seed))
        assert call.agent.shape == call.caller.shape == (made.NUM_CODEBOOKS, num_columns)
        assert call.text.shape == call.transcript.shape == call.forced.shape == (num_columns,)
        assert 0 < call.end <= num_columns
        assert not call.agent[:, call.end :].any() and not call.forced[call.end :].any()
        assert set(call.text[call.end :].tolist()) <= {words.pad}
        assert set(call.transcript[call.end :].tolist()) <= {words.pad}
        assert set(call.caller[0, call.end :].tolist()) <= IDLE
        ends.append(call.end)
    assert min(ends) < num_columns or num_columns < 150


def test_a_seed_is_a_call(words: TextTokenizer) -> None:
    writer = Scriptwriter(LIBRARY, words, NUM_COLUMNS)
    one, same, other = (writer.draw(STEM, random.Random(seed)) for seed in (1, 1, 2))
    for name in ("agent", "caller", "text", "transcript", "forced", "end"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.agent, other.agent)


def test_callers_ask_only_what_they_can_say(words: TextTokenizer) -> None:
    """A stem may lack an intent."""
    few = made.stem(made.REQUESTS[5:7])
    writer = Scriptwriter(LIBRARY, words, NUM_COLUMNS)
    calls = [writer.draw(few, random.Random(seed)) for seed in range(5)]
    onsets = [np.isin(call.caller[0], [turn.first for turn in few.turns]).sum() for call in calls]
    assert max(onsets) > 2


def test_who_has_one_order_says_it_once_and_then_nothing_more(words: TextTokenizer) -> None:
    """As a recorded caller has: they hang up after the read-back, or wait until the agent does."""
    caller = made.stem(made.REQUESTS[:1])
    writer = Scriptwriter(LIBRARY, words, NUM_COLUMNS)
    endings = []
    for seed in range(40):
        call = writer.draw(caller, random.Random(seed))
        assert (call.caller[0] == caller.turns[0].first).sum() <= 1
        endings.append(_said(call)[-1].text)
        assert call.end < NUM_COLUMNS, "the rest is no part of the call"
    assert 8 < endings.count(readback(made.LATTE).text) < 32
    assert set(endings) <= {GREETING.text, readback(made.LATTE).text, STILL_THERE.text, GIVE_UP.text}
