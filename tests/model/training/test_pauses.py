"""Pauses lie where they are drawn for: long ones in open sentences, short ones where it might have ended."""

import random

import pytest

from model.order import Order
from model.phrasings import Intent
from model.requests import Request
from model.training.pauses import BREATH_S, BREATH_SHARE, THINKING_S, THINKING_SHARE, draw_pauses

ORDER = Request(Intent.ORDER, "a large latte with milk", Order("latte", "large", "milk"))


def test_open_sentences_get_thinking_pauses_and_whole_ones_short_breaths() -> None:
    assert ORDER.complete_words() == [3] and 3 not in ORDER.incomplete_words()
    drawn = [draw_pauses(ORDER, random.Random(seed)) for seed in range(400)]
    assert all(some == sorted(some) for some in drawn)
    breaths = [pause_s for some in drawn for after, pause_s in some if after == 3]
    thoughts = [pause_s for some in drawn for after, pause_s in some if after != 3]
    assert {after for some in drawn for after, _ in some} == {3, *ORDER.incomplete_words()}
    assert len(breaths) / 400 == pytest.approx(BREATH_SHARE, abs=0.08)
    assert len(thoughts) / 400 == pytest.approx(THINKING_SHARE, abs=0.08) and len(thoughts) >= 200
    assert BREATH_S[0] <= min(breaths) and max(breaths) <= BREATH_S[1]
    assert THINKING_S[0] <= min(thoughts) and max(thoughts) <= THINKING_S[1] and max(thoughts) > 1.1


def test_what_is_said_in_one_breath_has_none() -> None:
    assert draw_pauses(Request(Intent.YES, "yes"), random.Random(1)) == []
