"""The agent answers in time and in words that the caller used, whatever the model likes best."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.answering import LEAST_WORDS, Answering
from model.config import SamplingConfig
from model.controls import NO_TOKEN
from model.errors import CheckpointError
from model.tokenizer import EPAD, PAD, TextTokenizer
from tests.model import tiny

WITHIN = 10
WORDS = ("seven", "one", "two")  # of the alphabet that spells each digit in one piece


class Call:
    """One row between a model that likes one token best and a scripted transcript."""

    def __init__(
        self, tokenizer: TextTokenizer, *, rows: int = 1, row: int = 0, within: int = WITHIN
    ) -> None:
        self.tokenizer = tokenizer
        sampling = SamplingConfig(answer_within_frames=within, grounded_words=WORDS[:2])
        self.answering = Answering(tokenizer, tiny.recital_config(tokenizer), sampling, rows)
        self.active = torch.arange(rows) == row
        self.is_free = torch.ones(rows, dtype=torch.bool)
        self.texts: list[int] = []
        self.written: list[int] = []

    def frame(self, best: str = "", second: str = "two", written: int = PAD) -> int:
        """One step: the token taken where the model likes a word (or padding) best, another one next."""
        logits = torch.full((len(self.active), self.tokenizer.card), -10.0)
        logits[:, EPAD], logits[:, PAD] = 2.0, 3.0
        logits[:, self.token(second)] = 1.0
        if best:
            logits[:, self.token(best)] = 4.0
        self.answering.shape(logits, self.is_free)
        text = torch.where(self.active, logits.argmax(1), NO_TOKEN)
        self.answering.note(text, torch.where(self.active, written, NO_TOKEN), self.active)
        self.texts.append(int(text[self.active]))
        self.written.append(written)
        return self.texts[-1]

    def token(self, word: str) -> int:
        return self.tokenizer.encode(word)[0]

    def hear(self, words: str) -> None:
        for word in words.split():
            for token in self.tokenizer.encode(word):
                self.frame(written=token)

    def wait(self, frames: int) -> list[int]:
        return [self.frame() for _ in range(frames)]


def test_words_that_nothing_followed_are_answered_in_time(digits_tokenizer: TextTokenizer) -> None:
    call = Call(digits_tokenizer)
    call.hear("two two")
    assert set(call.wait(WITHIN)) == {PAD}, "there is time yet"
    # The frame before a word announces it, once.
    assert call.wait(3) == [EPAD, call.token("two"), PAD]
    assert set(call.wait(3 * WITHIN)) == {PAD}, "it was answered"


def test_the_time_begins_anew_with_each_word(digits_tokenizer: TextTokenizer) -> None:
    call = Call(digits_tokenizer)
    call.hear("two two")
    call.wait(WITHIN - 1)
    call.hear("two")
    assert set(call.wait(WITHIN)) == {PAD} and call.frame() == EPAD


@pytest.mark.parametrize("words", ["", "two", "okay", "uh huh okay yeah two"])
def test_a_hum_or_a_single_word_needs_no_answer(digits_tokenizer: TextTokenizer, words: str) -> None:
    call = Call(digits_tokenizer)
    call.hear(words)
    assert LEAST_WORDS == 2 and set(call.wait(4 * WITHIN)) == {PAD}


def test_what_the_agent_says_of_itself_is_an_answer(digits_tokenizer: TextTokenizer) -> None:
    call = Call(digits_tokenizer)
    call.hear("two two")
    assert call.frame("two") == call.token("two")
    assert set(call.wait(4 * WITHIN)) == {PAD}


def test_who_is_told_what_to_say_or_to_be_silent_is_left_alone(digits_tokenizer: TextTokenizer) -> None:
    call = Call(digits_tokenizer)
    call.hear("two two")
    call.is_free[:] = False
    assert set(call.wait(4 * WITHIN)) == {PAD}
    assert call.frame("seven") == call.token("seven"), "in any words"
    call = Call(digits_tokenizer, within=0)
    call.hear("two two")
    assert set(call.wait(4 * WITHIN)) == {PAD}, "it is switched off"


def test_grounded_words_are_said_once_they_were_heard(digits_tokenizer: TextTokenizer) -> None:
    call = Call(digits_tokenizer)
    assert call.frame("seven", "two") == PAD, "the next best"
    assert call.frame("two") == call.token("two"), "this one is no such word"
    call.hear("seven")
    assert call.frame("seven") == call.token("seven")
    assert call.frame("one") == PAD
    call.wait(50)
    assert call.frame("seven") == call.token("seven"), "it stays heard"


def test_rows_are_their_own(digits_tokenizer: TextTokenizer) -> None:
    call = Call(digits_tokenizer, rows=3, row=1)
    call.hear("seven two")
    call.wait(WITHIN)
    tree = call.answering.tree
    assert tree["is_heard"].tolist() == [[False, False], [True, False], [False, False]]
    assert tree["num_words"].tolist() == [0, 2, 0] and tree["quiet"].tolist() == [0, WITHIN, 0]
    tree.reset(call.active)
    assert not any(tensor.any() for tensor in tree.walk())


def test_a_moved_call_knows_what_it_heard(digits_tokenizer: TextTokenizer) -> None:
    call = Call(digits_tokenizer, rows=2)
    call.hear("seven okay")
    call.frame("two")
    call.hear("two one")
    call.wait(WITHIN)
    for further in range(4):
        reborn = Call(digits_tokenizer, rows=2).answering
        initial = digits_tokenizer.card
        reborn.relive(1, [initial, *call.texts], [initial, *call.written])
        tiny.assert_rows_equal(reborn.tree, call.answering.tree.rows(0), 1)
        assert further < 3 or call.texts[-1] == PAD
        call.wait(1)


def test_a_word_of_several_pieces_is_refused(digits_tokenizer: TextTokenizer) -> None:
    sampling = replace(SamplingConfig(), grounded_words=("seven", "cappuccino"))
    with pytest.raises(CheckpointError, match=r"'cappuccino' in .* pieces"):
        Answering(digits_tokenizer, tiny.recital_config(digits_tokenizer), sampling, 1)
