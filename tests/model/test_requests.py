"""What callers ask: every drawn turn says what it means, in words of its own side."""

import random

import pytest

from model.order import Number, Order, understand
from model.order_line import ORDER_OPENERS, PHRASINGS, Intent, Request, Tone, phrase_order
from model.requests import caller_vocabulary, draw_change, draw_order, draw_request, is_long

LIVELY = (Intent.ORDER, Intent.CHANGE, Intent.NUMBER)


def test_every_drawn_turn_is_understood_as_it_was_meant() -> None:
    """2,000 lively turns of either side, in every tone, with corrections and restarts; JSON keeps them."""
    rng = random.Random(0)
    for _ in range(2000):
        tone, held_out = rng.choice(list(Tone)), rng.random() < 0.5
        request = draw_request(rng, rng.choice(LIVELY), held_out=held_out, tone=tone, is_lively=True)
        meant = request.order or request.change or Number(str(request.number))
        assert understand(request.text) == meant, request.text
        assert Request.from_json(request.as_json()) == request


@pytest.mark.parametrize("held_out", [False, True])
def test_drawn_requests_keep_to_their_side(held_out: bool) -> None:
    rng = random.Random(1)
    for intent in PHRASINGS:
        for _ in range(30):
            request = draw_request(rng, intent, held_out=held_out)
            wordings = PHRASINGS[intent].of(held_out=held_out)
            assert request.intent is intent
            assert request.number or request.text.endswith(wordings)
    for _ in range(30):
        request = draw_request(rng, Intent.ORDER, held_out=held_out, all_slots=True)
        assert any(opener in request.text for opener in ORDER_OPENERS.of(held_out=held_out))
        order = request.order
        assert order is not None and None not in (
            order.size,
            order.milk,
            order.roast,
            order.shots,
            order.sugar,
        )


def test_lively_callers_correct_themselves_begin_anew_and_hesitate() -> None:
    rng = random.Random(3)
    texts = [draw_request(rng, Intent.ORDER, is_lively=True).text.split() for _ in range(300)]
    assert sum("um" in text[1:] or "uh" in text[1:] for text in texts) > 30
    assert sum(text.count("a") + text.count("an") > 1 for text in texts) > 30
    plain = [draw_request(rng, Intent.ORDER).text.split() for _ in range(100)]
    assert not any("um" in text[2:] for text in plain)


def test_a_change_changes_something() -> None:
    rng = random.Random(4)
    for _ in range(200):
        order = draw_order(rng)
        assert draw_change(order, rng).apply(order) != order


def test_an_order_names_only_what_it_has() -> None:
    rng = random.Random(2)
    texts = {phrase_order(Order("espresso"), rng).text for _ in range(50)}
    assert not any("with" in text.split() for text in texts)
    assert any(" an espresso" in text for text in texts)


def test_whole_orders_that_go_on_are_told_apart() -> None:
    order = Order("latte", "large", "soy milk", sugar="sugar")
    request = Request(Intent.ORDER, "a large latte with soy milk and sugar", order)
    assert request.complete_words() == [3, 6]
    assert not set(request.complete_words()) & set(request.incomplete_words())
    assert is_long("a large dark roast") and not is_long("can I get a large") and not is_long("hello")


def test_callers_pause_only_where_the_sentence_is_open() -> None:
    request = Request(Intent.ORDER, "can I get a large latte with some soy milk")
    assert request.incomplete_words() == [3, 4, 5, 7, 8, 9]
    assert Request(Intent.YES, "yes that's right").incomplete_words() == []


def test_the_vocabulary_holds_every_drawn_word() -> None:
    rng = random.Random(3)
    words = set(caller_vocabulary())
    for intent in Intent:
        for held_out in (False, True):
            for _ in range(20):
                text = draw_request(rng, intent, held_out=held_out).text
                assert set(text.lower().split()) <= words
