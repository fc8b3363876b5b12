"""The order line's rules as a table, and wordings that are complete, distinct and kept apart."""

import random

import pytest

from model.order_line import (
    AGENT_LINES,
    ASK_AGAIN,
    CONFIRMED,
    GOODBYE,
    GREETING,
    HOURS,
    LEAD_INS,
    MORE,
    NOT_UNDERSTOOD,
    OKAY,
    ORDER_OPENERS,
    PHRASINGS,
    STILL_THERE,
    TRANSFER,
    WHERE,
    Control,
    Intent,
    Line,
    Order,
    OrderLine,
    Pending,
    Request,
    caller_vocabulary,
    draw_request,
    every_order,
    phrase_order,
    readback,
)
from model.tokenizer import EPAD, TextTokenizer

LATTE = Order("latte", "large", "soy milk")


def _ask(line: OrderLine, *intents: Intent) -> Line:
    """The answer to the last of some requests."""
    answers = [line.answer(Request(i, "", LATTE if i is Intent.ORDER else None)) for i in intents]
    return answers[-1]


TABLE: list[tuple[tuple[Intent, ...], Line, Pending]] = [
    ((Intent.ORDER,), readback(LATTE), Pending.CONFIRM),
    ((Intent.ORDER, Intent.YES), CONFIRMED, Pending.MORE),
    ((Intent.ORDER, Intent.NO), ASK_AGAIN, Pending.NOTHING),
    ((Intent.ORDER, Intent.YES, Intent.YES), MORE, Pending.NOTHING),
    ((Intent.ORDER, Intent.YES, Intent.NO), GOODBYE, Pending.NOTHING),
    ((Intent.ORDER, Intent.YES, Intent.ORDER), readback(LATTE), Pending.CONFIRM),
    ((Intent.ORDER, Intent.ORDER), readback(LATTE), Pending.CONFIRM),
    ((Intent.ORDER, Intent.HOURS), HOURS, Pending.NOTHING),
    ((Intent.ORDER, Intent.OTHER), NOT_UNDERSTOOD, Pending.CONFIRM),
    ((Intent.ORDER, Intent.OTHER, Intent.YES), CONFIRMED, Pending.MORE),
    ((Intent.ORDER, Intent.REPEAT), readback(LATTE), Pending.CONFIRM),
    ((Intent.ORDER, Intent.REPEAT, Intent.NO), ASK_AGAIN, Pending.NOTHING),
    ((Intent.YES,), OKAY, Pending.NOTHING),
    ((Intent.NO,), OKAY, Pending.NOTHING),
    ((Intent.HOURS,), HOURS, Pending.NOTHING),
    ((Intent.WHERE,), WHERE, Pending.NOTHING),
    ((Intent.PERSON,), TRANSFER, Pending.NOTHING),
    ((Intent.REPEAT,), GREETING, Pending.NOTHING),
    ((Intent.WHERE, Intent.REPEAT), WHERE, Pending.NOTHING),
    ((Intent.GOODBYE,), GOODBYE, Pending.NOTHING),
    ((Intent.OTHER,), NOT_UNDERSTOOD, Pending.NOTHING),
]


@pytest.mark.parametrize(("asked", "answer", "pending"), TABLE)
def test_what_is_answered(asked: tuple[Intent, ...], answer: Line, pending: Pending) -> None:
    line = OrderLine()
    assert _ask(line, *asked) == answer
    assert line.pending is pending


def test_the_table_asks_for_every_intent() -> None:
    assert {asked[-1] for asked, _, _ in TABLE} == set(Intent)


def test_a_repeated_line_speaks_but_does_not_act_again() -> None:
    line = OrderLine()
    assert _ask(line, Intent.PERSON).control is Control.TRANSFER
    again = _ask(line, Intent.REPEAT)
    assert again == Line(TRANSFER.text)
    assert again.control is Control.NONE


def test_are_you_still_there_leaves_the_question_open() -> None:
    line = OrderLine()
    _ask(line, Intent.ORDER)
    assert line.say(STILL_THERE) is STILL_THERE
    assert _ask(line, Intent.YES) == CONFIRMED


def test_every_order_has_its_own_read_back() -> None:
    orders = every_order()
    lines = {readback(order).text for order in orders}
    assert len(orders) == len(lines) == 280
    assert "An iced coffee. Is that right?" in lines
    assert readback(LATTE).text == "A large latte with soy milk. Is that right?"


def test_held_out_wordings_cannot_come_up_in_training() -> None:
    """Not even as a trained opening before a trained wording."""
    groups = [*PHRASINGS.items(), ("order", ORDER_OPENERS)]
    for name, wordings in groups:
        trained = {(lead + text).lower() for lead in LEAD_INS.train for text in wordings.train}
        held = {(lead + text).lower() for lead in LEAD_INS.held_out for text in wordings.held_out}
        assert not trained & held, name
        assert len(wordings.held_out) >= 2, name


def test_no_wording_means_two_things() -> None:
    meanings: dict[str, set[str]] = {}
    for intent, wordings in PHRASINGS.items():
        for lead in {*LEAD_INS.train, *LEAD_INS.held_out}:
            for text in (*wordings.train, *wordings.held_out):
                meanings.setdefault((lead + text).lower(), set()).add(intent.value)
    assert {text: found for text, found in meanings.items() if len(found) > 1} == {}


@pytest.mark.parametrize("held_out", [False, True])
def test_drawn_requests_keep_to_their_side(held_out: bool) -> None:
    rng = random.Random(1)
    for intent in Intent:
        for _ in range(30):
            request = draw_request(rng, intent, held_out=held_out, all_slots=True)
            assert request.intent is intent
            if request.order is None:
                wordings = PHRASINGS[intent].held_out if held_out else PHRASINGS[intent].train
                assert request.text.endswith(wordings)
                continue
            openers = ORDER_OPENERS.held_out if held_out else ORDER_OPENERS.train
            assert any(opener in request.text for opener in openers)
            assert f"{request.order.size} {request.order.drink}" in request.text
            assert str(request.order.milk) in request.text


def test_an_order_names_only_what_it_has() -> None:
    rng = random.Random(2)
    texts = {phrase_order(Order("espresso"), rng).text for _ in range(50)}
    assert not any("with" in text.split() for text in texts)
    assert any(" an espresso" in text for text in texts)


def test_callers_pause_only_where_the_sentence_is_open() -> None:
    request = Request(Intent.ORDER, "can I get a large latte with some soy milk")
    assert request.incomplete_words() == [3, 4, 5, 7, 8]
    assert Request(Intent.YES, "yes that's right").incomplete_words() == []


def test_the_vocabulary_holds_every_drawn_word() -> None:
    rng = random.Random(3)
    words = set(caller_vocabulary())
    for intent in Intent:
        for held_out in (False, True):
            for _ in range(20):
                text = draw_request(rng, intent, held_out=held_out).text
                assert set(text.lower().split()) <= words


def test_every_line_and_wording_can_be_spelt(tokenizer: TextTokenizer) -> None:
    texts = [line.text for line in AGENT_LINES] + [readback(order).text for order in every_order()]
    for wordings in [*PHRASINGS.values(), ORDER_OPENERS, LEAD_INS]:
        texts += [*wordings.train, *wordings.held_out]
    for text in texts:
        tokens = tokenizer.encode(text)
        plain = "".join(c if c.isalnum() or c in "' " else " " for c in text.lower())
        assert EPAD not in tokens, text
        assert tokenizer.decode(tokens).split() == plain.split()
