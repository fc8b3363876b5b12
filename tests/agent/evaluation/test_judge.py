"""The judge tells the agent's sentences apart at telephone quality, and is not fooled by others."""

import ctypes
import random

import numpy as np
import pytest

from agent.energy_gate import Pcm
from agent.evaluation.judge import FOIL_LINES, Judge, Verdict, _grammar, is_own_line, plain, without_offer
from model.channel import Line, telephone
from model.order_line import (
    AGENT_LINES,
    CALM_LINES,
    CONFIRMED,
    GOODBYE,
    NOBODY,
    NUMBER_TAKEN,
    TRANSFER,
    Order,
    Tone,
    draw_number,
    draw_order,
    in_tone,
    read_number,
    readback,
)
from model.voices import AGENT_VOICE, synthesize


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def over_the_phone(text: str, snr_db: float = 25.0) -> Pcm:
    line = Line(noise="pink", snr_db=snr_db)
    ctypes.CDLL(None).srand(1)  # which flite draws its excitation from: the same sound in every run
    return telephone(synthesize(text, AGENT_VOICE).pcm, np.random.default_rng(0), line)


def test_lines_are_recognised(judge: Judge) -> None:
    """Some calm ones, some terse ones, and one after the offer to the angry."""
    lines = [*CALM_LINES[::8], *(in_tone(line, Tone.HURRIED) for line in CALM_LINES[1:12:6])]
    texts = [line.text for line in (*lines, in_tone(CONFIRMED, Tone.ANGRY))]
    assert [text for text in texts if not judge.hear(over_the_phone(text, 45.0)).says(text)] == []


def test_thanks_are_heard_though_the_line_takes_their_hiss(judge: Judge) -> None:
    for line in (GOODBYE, in_tone(NUMBER_TAKEN, Tone.HURRIED)):
        assert judge.hear(over_the_phone(line.text, 45.0)).says(line.text)


def test_every_line_that_the_rules_give_is_in_the_grammar() -> None:
    lines = {line.strip() for line in _grammar().split("<line> = ( ")[1].split(" );")[0].split("|")}
    assert {without_offer(plain(line.text)) for line in AGENT_LINES} <= lines


def test_read_backs_are_judged_slot_by_slot(judge: Judge) -> None:
    rng = random.Random(4)
    orders = [Order("iced mocha", "large", "soy milk"), draw_order(rng), draw_order(rng, all_slots=True)]
    assert [judge.hear(over_the_phone(readback(order).text)).order for order in orders] == orders


@pytest.mark.parametrize("text", FOIL_LINES[::30])
def test_foils_are_not_taken_for_lines(judge: Judge, text: str) -> None:
    heard = judge.hear(over_the_phone(text))
    assert not any(heard.says(line.text) for line in AGENT_LINES)


def test_numbers_and_terse_and_angry_read_backs_are_heard(judge: Judge) -> None:
    rng = random.Random(5)
    order, number = draw_order(rng), draw_number(rng)
    assert judge.hear(over_the_phone(readback(order, Tone.HURRIED).text, 45.0)).order == order
    assert judge.hear(over_the_phone(read_number(number, Tone.ANGRY).text, 45.0)).number == number


def test_a_wrong_digit_is_heard_as_wrong(judge: Judge) -> None:
    heard = judge.hear(over_the_phone(read_number("5551235").text, 45.0))
    assert heard.number == "5551235" and heard.order is None


def test_a_wrong_drink_is_heard_as_wrong(judge: Judge) -> None:
    assert judge.hear(over_the_phone("A small tea with oat milk. Is that right?")).order == Order(
        "tea", "small", "oat milk"
    )


def test_two_lines_in_one_breath(judge: Judge) -> None:
    both = f"{TRANSFER.text} {NOBODY.text}"
    assert judge.hear(over_the_phone(both)).says(both)


def test_silence_says_nothing(judge: Judge) -> None:
    assert not judge.hear(np.zeros(6_000, np.float32)).words


def test_there_are_sixty_foils_and_none_is_a_line() -> None:
    lines = {plain(line.text) for line in AGENT_LINES}
    assert len(set(FOIL_LINES)) >= 60 and not lines & set(FOIL_LINES)


def test_articles_do_not_count() -> None:
    assert Verdict("an small latte is that right").says("A small latte. Is that right?")
    assert not Verdict("a small mocha is that right").says("A small latte. Is that right?")


def test_a_read_back_is_judged_by_what_it_reads_back() -> None:
    heard = Verdict("a small latte is that right", Order("latte", "small"))
    assert heard.says("Small latte. Right?") and not heard.says("Small mocha. Right?")
    number = Verdict("five five five one two three four right", number="5551234")
    assert number.says(read_number("5551234").text) and not number.says(read_number("5551235").text)


def test_whole_lines_are_told_from_broken_ones() -> None:
    assert is_own_line("we are open from seven in the morning to six at night")
    assert is_own_line("a large latte with soy milk is that right")
    assert not is_own_line("we are open from seven in the") and not is_own_line("")
    # What breaks off is often heard as a foil, which the agent never says.
    assert not is_own_line("can you spell it for me") and not is_own_line("a large tea is that right")


def test_goodbye_is_heard_at_the_end_of_a_call(judge: Judge) -> None:
    """At one padding the decoder loses it more often than not, and every dialogue ends with it."""
    heard = [judge.hear(over_the_phone(GOODBYE.text, snr_db)).says(GOODBYE.text) for snr_db in (45.0, 40.0)]
    assert all(heard)
