"""The order line's rules as a table, and wordings that are complete, distinct and kept apart."""

import pytest

from model.order_line import (
    AGENT_LINES,
    ANGRY_PREFIX,
    ASK_AGAIN,
    ASK_DRINK,
    ASK_NUMBER,
    CANCELLED,
    CONFIRMED,
    DELEGATE,
    GOODBYE,
    GREETING,
    HOURS,
    LEAD_INS,
    MM_HM,
    MORE,
    NOT_UNDERSTOOD,
    NUMBER_TAKEN,
    OKAY,
    ONLY_ORDERS,
    ORDER_OPENERS,
    PHRASINGS,
    STILL_THERE,
    TRANSFER,
    WHERE,
    Change,
    Control,
    Intent,
    Line,
    Order,
    OrderLine,
    Pending,
    Request,
    Tone,
    in_tone,
    read_number,
    readback,
)
from model.tokenizer import EPAD, TextTokenizer

LATTE = Order("latte", "large", "soy milk")


def _ask(line: OrderLine, *intents: Intent) -> Line:
    """The answer to the last of some requests."""
    return [line.answer(_request(intent)) for intent in intents][-1]


def _request(intent: Intent, tone: Tone = Tone.CALM) -> Request:
    order = LATTE if intent is Intent.ORDER else None
    change = Change(size="small", without=("milk",)) if intent is Intent.CHANGE else None
    number = "5551234" if intent is Intent.NUMBER else None
    return Request(intent, "", order, change, number, tone)


TABLE: list[tuple[tuple[Intent, ...], Line, Pending]] = [
    ((Intent.ORDER,), readback(LATTE), Pending.CONFIRM),
    ((Intent.ORDER, Intent.YES), CONFIRMED, Pending.MORE),
    ((Intent.ORDER, Intent.NO), ASK_AGAIN, Pending.NOTHING),
    ((Intent.ORDER, Intent.YES, Intent.YES), MORE, Pending.NOTHING),
    ((Intent.ORDER, Intent.YES, Intent.NO), GOODBYE, Pending.NOTHING),
    ((Intent.ORDER, Intent.YES, Intent.ORDER), readback(LATTE), Pending.CONFIRM),
    ((Intent.ORDER, Intent.ORDER), readback(LATTE), Pending.CONFIRM),
    ((Intent.ORDER, Intent.HOURS), HOURS, Pending.NOTHING),
    ((Intent.ORDER, Intent.OTHER), ONLY_ORDERS, Pending.CONFIRM),
    ((Intent.ORDER, Intent.UNCLEAR), NOT_UNDERSTOOD, Pending.CONFIRM),
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
    ((Intent.OTHER,), ONLY_ORDERS, Pending.NOTHING),
    ((Intent.UNCLEAR,), NOT_UNDERSTOOD, Pending.NOTHING),
    ((Intent.ORDER, Intent.CHANGE), readback(Order("latte", "small")), Pending.CONFIRM),
    ((Intent.ORDER, Intent.CHANGE, Intent.YES), CONFIRMED, Pending.MORE),
    ((Intent.ORDER, Intent.YES, Intent.CHANGE), readback(Order("latte", "small")), Pending.CONFIRM),
    ((Intent.ORDER, Intent.NO, Intent.CHANGE), ASK_DRINK, Pending.NOTHING),
    ((Intent.ORDER, Intent.CANCEL, Intent.CHANGE), ASK_DRINK, Pending.NOTHING),
    ((Intent.CHANGE,), ASK_DRINK, Pending.NOTHING),
    ((Intent.NUMBER,), read_number("5551234"), Pending.NUMBER),
    ((Intent.NUMBER, Intent.YES), NUMBER_TAKEN, Pending.MORE),
    ((Intent.NUMBER, Intent.NO), ASK_NUMBER, Pending.NOTHING),
    ((Intent.NUMBER, Intent.YES, Intent.NO), GOODBYE, Pending.NOTHING),
    ((Intent.NUMBER, Intent.REPEAT), read_number("5551234"), Pending.NUMBER),
    ((Intent.ORDER, Intent.CANCEL), CANCELLED, Pending.MORE),
    ((Intent.ORDER, Intent.STATUS), DELEGATE, Pending.NOTHING),
    ((Intent.ORDER, Intent.BACKCHANNEL), CONFIRMED, Pending.MORE),
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


def test_read_backs_and_numbers_are_said_word_for_word() -> None:
    assert readback(LATTE).text == "A large latte with soy milk. Is that right?"
    assert readback(Order("iced coffee")).text == "An iced coffee. Is that right?"
    assert readback(LATTE, Tone.HURRIED).text == "Large latte, soy milk. Right?"
    everything = Order(
        "mocha", "eight ounce", "a little cream", "dark roast", "double shot", "a lot of sugar"
    )
    told = (
        "An eight ounce dark roast double shot mocha with a little cream and a lot of sugar. Is that right?"
    )
    assert readback(everything).text == told
    assert read_number("5551204").text == "Five five five, one two zero four. Is that right?"


def test_the_rules_answer_every_request_in_every_state_and_tone() -> None:
    """Whatever is asked after whatever, the answer is a line that is known."""
    fixed = {line.text for line in AGENT_LINES}
    for tone in Tone:
        for before in (None, *Intent):
            for intent in Intent:
                rules = OrderLine()
                if before is not None:
                    rules.answer(_request(before, tone))
                line = rules.answer(_request(intent, tone))
                is_read_back = line.text.endswith("ight?")
                assert is_read_back or line.text in fixed, (before, intent, tone)
                assert line.is_soft is (tone is Tone.WHISPER and line != GREETING)


def test_tones_change_how_it_is_said_but_not_what_is_done() -> None:
    assert in_tone(HOURS, Tone.CALM) is HOURS
    assert len(in_tone(HOURS, Tone.HURRIED).text) < len(HOURS.text)
    assert in_tone(HOURS, Tone.ANGRY).text == f"{ANGRY_PREFIX} {HOURS.text}"
    assert in_tone(HOURS, Tone.WHISPER) == Line(HOURS.text, is_soft=True)
    for line in AGENT_LINES:
        assert {in_tone(line, tone).control for tone in Tone} == {line.control}


def test_a_hum_leaves_the_question_open() -> None:
    line = OrderLine()
    _ask(line, Intent.ORDER)
    line.say(MM_HM)
    assert _ask(line, Intent.REPEAT) == readback(LATTE)


def test_every_line_and_wording_can_be_spelt(tokenizer: TextTokenizer) -> None:
    texts = [line.text for line in AGENT_LINES] + [readback(LATTE).text, read_number("0123456").text]
    for wordings in [*PHRASINGS.values(), ORDER_OPENERS, LEAD_INS]:
        texts += [*wordings.train, *wordings.held_out]
    for text in texts:
        tokens = tokenizer.encode(text)
        plain = "".join(c if c.isalnum() or c in "' " else " " for c in text.lower())
        assert EPAD not in tokens, text
        assert tokenizer.decode(tokens).split() == plain.split()
