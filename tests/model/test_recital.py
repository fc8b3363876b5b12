"""Digits are read back as they were written down: whichever the model draws, whenever it draws one."""

from __future__ import annotations

import pytest
import torch

from model.controls import FAR_BELOW, NO_TOKEN
from model.errors import CheckpointError
from model.numbers import DIGIT_VALUES
from model.recital import (
    FRESH_FRAMES,
    GAP_FRAMES,
    LAPSE_FRAMES,
    LATE_FRAMES,
    RHYTHM_FRAMES,
    TAIL_FRAMES,
    Offer,
    Recital,
)
from model.tokenizer import EPAD, PAD, TextTokenizer
from tests.model import tiny
from tests.model.tiny import mask

NUMBER = "five zero seven one two three four"


class Call:
    """One row of a recital between a scripted model and a scripted transcript, a word every four frames."""

    def __init__(self, tokenizer: TextTokenizer, *, rows: int = 1, row: int = 0) -> None:
        self.tokenizer = tokenizer
        self.recital = Recital(tokenizer, tiny.recital_config(tokenizer), 5, rows, once_frames=1)
        self.active = torch.arange(rows) == row
        self.is_free = torch.ones(rows, dtype=torch.bool)
        self.texts: list[int] = []
        self.written: list[int] = []

    def frame(self, wish: int = PAD, written: int = PAD, banned: int | None = None) -> int:
        """One step: the text that is taken where the model likes `wish` best, and padding next."""
        logits = torch.full((len(self.active), self.tokenizer.card), -10.0)
        logits[:, PAD], logits[:, wish] = 0, 4
        if banned is not None:
            logits[:, banned] += FAR_BELOW
        offer = self.recital.offer(self.is_free)
        self.recital.shape(logits, offer)
        text = torch.where(self.active, logits.argmax(1), NO_TOKEN)
        self.recital.note(offer, text, torch.where(self.active, written, NO_TOKEN), self.active)
        self.texts.append(int(text[self.active]))
        self.written.append(written)
        return self.texts[-1]

    def wait(self, frames: int) -> None:
        for _ in range(frames):
            self.frame()

    def hear(self, words: str, pause: int = 3) -> None:
        for word in words.split():
            for token in self.tokenizer.encode(word):
                self.frame(written=token)
            self.wait(pause)

    def say(self, words: str, pause: int = 3) -> str:
        """What is said in the frames where the model would say these words."""
        said: list[int] = []
        for word in words.split():
            said += [self.frame(token) for token in self.tokenizer.encode(word)]
            self.wait(pause)
        return self.tokenizer.decode(said)


def _tokens(call: Call) -> dict[str, int]:
    return {word: call.tokenizer.encode(word)[0] for word in DIGIT_VALUES}


@pytest.fixture
def call(digits_tokenizer: TextTokenizer) -> Call:
    return Call(digits_tokenizer)


@pytest.mark.parametrize(
    ("heard", "read"),
    [
        (NUMBER, NUMBER),
        (f"can i give you my number {NUMBER}", NUMBER),
        ("five oh seven um one two uh three four", NUMBER),
        ("double five triple oh one two", "five five zero zero zero one two"),
        ("double uh five seven one two", "five five seven one two"),
        ("double latte five six seven one two", "five six seven one two"),
        ("one latte six two three four seven", "six two three four seven"),
        ("oh hi six two three four seven", "six two three four seven"),
        ("fourteen six two three four seven", "six two three four seven"),
        ("five six seven no six two three four seven", "six two three four seven"),
        ("five six wait six two three four seven", "six two three four seven"),
    ],
)
def test_what_is_read_back_is_what_was_heard_last(call: Call, heard: str, read: str) -> None:
    call.hear(heard)
    assert call.say("nine " * len(read.split())) == read


def test_when_is_the_models_choice(call: Call) -> None:
    call.hear(NUMBER)
    call.wait(5)
    assert [call.frame() for _ in range(9)] == [PAD] * 9
    assert call.say("eight") == "five"
    call.wait(RHYTHM_FRAMES - 5)
    assert call.say("eight") == "zero"


def test_a_digit_comes_twice_but_not_in_two_frames_on_end(call: Call) -> None:
    call.hear("five five six six seven")
    nine = _tokens(call)["nine"]
    said = [call.frame(nine) for _ in range(9)]
    five, six, seven = (_tokens(call)[word] for word in ("five", "six", "seven"))
    assert said == [five, PAD, five, PAD, six, PAD, six, PAD, seven]


def test_a_banned_digit_is_not_said(call: Call) -> None:
    call.hear(NUMBER)
    five, nine = _tokens(call)["five"], _tokens(call)["nine"]
    assert call.frame(nine, banned=five) == PAD
    assert call.frame(nine) == five


def test_fewer_digits_than_a_number_has_are_the_models(call: Call) -> None:
    call.hear("five zero seven one")
    assert call.say("nine eight nine") == "nine eight nine"


def test_behind_the_last_digit_there_is_none(call: Call) -> None:
    call.hear("five zero seven one two")
    assert call.say("nine nine nine nine nine nine is that right") == "five zero seven one two is that right"
    call.hear("yes", pause=TAIL_FRAMES)
    assert call.say("ready in five") == "ready in five", "the recital is over"
    call.hear("six six four three seven")
    assert call.say("one one one one one") == "six six four three seven"


def test_what_follows_a_number_has_no_digit(call: Call) -> None:
    call.hear("five zero seven one two")
    assert call.say("nine nine nine nine nine that two right") == "five zero seven one two that right"


def test_no_other_word_is_said_before_the_last_digit(call: Call) -> None:
    call.hear(NUMBER)
    assert call.say("nine that that right nine that that that right") == f"{NUMBER} that right"


def test_who_is_interrupted_in_a_number_may_say_something_else(call: Call) -> None:
    call.hear(NUMBER)
    assert call.say("nine nine") == "five zero"
    call.wait(RHYTHM_FRAMES)
    assert call.say("is that seven") == "is that seven"


def test_a_long_pause_ends_a_recital(call: Call) -> None:
    call.hear(NUMBER)
    call.say("nine nine")
    call.wait(RHYTHM_FRAMES)
    assert call.say("nine") == "seven", "he goes on"
    call.wait(LAPSE_FRAMES)
    assert call.say("nine") == "nine"


def test_no_ends_a_recital(call: Call) -> None:
    call.hear(NUMBER)
    call.say("nine nine")
    call.hear("no", pause=0)
    assert call.say("is that right") == "is that right"


def test_other_lines_keep_their_digits(call: Call) -> None:
    hours = "from seven in the morning to six at night"
    assert call.say(hours) == hours
    call.hear(NUMBER)
    call.wait(FRESH_FRAMES)
    assert call.say(hours) == hours, "the number was said long ago"
    call.hear(f"{NUMBER} and when are you open", pause=1)
    assert call.say(hours) == hours, "the caller has asked for something else"
    call.hear(NUMBER)
    call.say("nine nine nine nine nine nine nine is that right")
    assert call.say(hours) == hours, "it was recited"


def test_a_sentence_that_is_ordered_keeps_its_digits(call: Call) -> None:
    call.hear(NUMBER)
    call.is_free[:] = False
    assert call.say("it is five two nine") == "it is five two nine"
    call.is_free[:] = True
    assert call.say("nine nine") == "five zero", "nothing of the number was said"


@pytest.mark.parametrize("asking", ["say that again", "pardon", "can you repeat that"])
def test_what_was_read_back_last_is_repeated(call: Call, asking: str) -> None:
    call.hear(NUMBER)
    call.say("nine nine nine nine nine nine nine is that right")
    call.hear(asking)
    assert call.say("one one one one one one one is that right") == f"{NUMBER} is that right"
    call.hear("yes")
    call.say("thanks i have your number")
    call.hear(asking)
    assert call.say("five minutes") == "five minutes"


def test_a_digit_that_was_written_down_late_is_recited_too(call: Call) -> None:
    call.hear("five zero seven one two")
    said = [call.say("nine")]
    call.frame(written=_tokens(call)["three"])
    assert " ".join([*said, call.say("nine nine nine nine nine is")]) == "five zero seven one two three is"


def test_the_agents_own_echo_does_not_lengthen_a_recital(call: Call) -> None:
    call.hear("five zero seven one two")
    call.wait(LATE_FRAMES - 4)
    said = [call.say("nine")]
    for word in ("five", "zero", "seven", "one"):
        call.frame(written=_tokens(call)[word])
        said.append(call.say("nine"))
    assert " ".join([*said, call.say("nine is")]) == "five zero seven one two is"


def test_a_digit_after_a_long_pause_begins_a_new_number(call: Call) -> None:
    call.hear("five zero seven one two")
    call.wait(GAP_FRAMES)
    call.hear("three four")
    assert call.say("nine") == "nine"
    call.hear("six six seven")
    assert call.say("nine " * 5) == "three four six six seven"


def test_a_number_is_corrected_into_the_recital(call: Call) -> None:
    call.hear(NUMBER)
    call.say("nine nine nine")
    call.hear(f"no {NUMBER[5:]} six", pause=1)
    assert call.say("nine " * 7) == f"{NUMBER[5:]} six"


def test_no_more_than_sixteen_digits_are_kept(call: Call) -> None:
    call.hear("one two three four " * 4 + "triple five")
    assert call.say("nine " * 17) == ("one two three four " * 4).strip()


def test_a_row_without_a_number_keeps_its_logits_bit_for_bit(digits_tokenizer: TextTokenizer) -> None:
    call = Call(digits_tokenizer, rows=2)
    call.hear(NUMBER)
    logits = tiny.noise(2, digits_tokenizer.card)
    before = logits.clone()
    call.recital.shape(logits, call.recital.offer(mask(1, 1)))
    torch.testing.assert_close(logits[1], before[1], rtol=0, atol=0)
    digits = [_tokens(call)[word] for word in DIGIT_VALUES if word != "oh"]
    assert logits[0, _tokens(call)["five"]] == before[0, digits].logsumexp(0)
    assert (logits[0, digits] == FAR_BELOW).sum() == 9
    others = [token for token in range(digits_tokenizer.card) if token not in digits]
    torch.testing.assert_close(logits[0, others], before[0, others], rtol=0, atol=0)


def test_rows_do_not_notice_each_other(digits_tokenizer: TextTokenizer) -> None:
    alone, second = Call(digits_tokenizer), Call(digits_tokenizer, rows=3, row=1)
    untouched = second.recital.tree.rows(2)
    for call in (alone, second):
        call.hear(NUMBER)
        assert call.say("nine nine nine") == "five zero seven"
    tiny.assert_rows_equal(second.recital.tree, alone.recital.tree.rows(0), 1)
    tiny.assert_rows_equal(second.recital.tree, untouched, 2)


def test_a_past_that_is_read_is_as_good_as_one_that_was_lived(digits_tokenizer: TextTokenizer) -> None:
    call = Call(digits_tokenizer)
    call.hear(f"oh hi my number is {NUMBER}")
    call.say("nine nine nine nine")
    reborn = Recital(digits_tokenizer, tiny.recital_config(digits_tokenizer), 5, 2, once_frames=1)
    reborn.relive(1, call.texts, call.written)
    tiny.assert_rows_equal(reborn.tree, call.recital.tree.rows(0), 1)
    call.wait(LAPSE_FRAMES)
    call.hear("pardon")
    reborn.tree.reset(mask(0, 1))
    initial = digits_tokenizer.card  # a call's first column
    reborn.relive(1, [initial, *call.texts], [initial, *call.written])
    tiny.assert_rows_equal(reborn.tree, call.recital.tree.rows(0), 1)


def test_epad_is_no_word(call: Call) -> None:
    call.hear(NUMBER)
    assert call.say("nine") == "five"
    assert call.frame(EPAD) == EPAD
    assert call.say("nine") == "zero"


def test_an_alphabet_that_spells_digits_is_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(CheckpointError, match=r"spells 'zero' in \d pieces; .*Set it to 0 in config.json"):
        Recital(tokenizer, tiny.model_config(tokenizer.card).lm, 5, 1)


def test_an_offer_has_a_value_for_every_row(digits_tokenizer: TextTokenizer) -> None:
    offer = Call(digits_tokenizer, rows=3).recital.offer(mask(1, 0, 1))
    assert all(len(tensor) == 3 for tensor in offer)
    assert isinstance(offer, Offer) and not offer.is_ours.any() and (offer.due == NO_TOKEN).all()
