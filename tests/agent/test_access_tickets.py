"""Tickets: once means once, and their time is short."""

from agent.access_keys import Right
from agent.access_tickets import Tickets
from agent.clock import ManualClock

RIGHTS = frozenset({Right.CALLS_CREATE})


def test_a_ticket_is_found_until_its_time_is_over() -> None:
    clock = ManualClock()
    tickets = Tickets(clock, life_s=60, max_held=3)
    text = tickets.issue(RIGHTS, "page", "k1")
    found = tickets.find(text)
    assert found is not None and (found.rights, found.name, found.key_id) == (RIGHTS, "page", "k1")
    clock.advance(59.9)
    assert tickets.find(text) is not None and len(tickets) == 1
    clock.advance(0.1)
    assert tickets.find(text) is None and len(tickets) == 0


def test_redeeming_voids_it() -> None:
    tickets = Tickets(ManualClock(), life_s=60, max_held=3)
    text = tickets.issue(RIGHTS, "page")
    assert tickets.redeem(text) is not None
    assert tickets.redeem(text) is None and tickets.find(text) is None


def test_the_public_half_alone_opens_nothing_and_voids_nothing() -> None:
    tickets = Tickets(ManualClock(), life_s=60, max_held=3)
    text = tickets.issue(RIGHTS, "page")
    place = text.partition(".")[0]
    for wrong in ("", ".", place, f"{place}.", f"{place}.{'A' * 43}", text + "A"):
        assert tickets.redeem(wrong) is None
        tickets.end(wrong)
    assert tickets.find(text) is not None


def test_the_oldest_goes_when_there_are_too_many() -> None:
    tickets = Tickets(ManualClock(), life_s=60, max_held=3)
    texts = [tickets.issue(RIGHTS, "page") for _ in range(5)]
    assert [tickets.find(text) is not None for text in texts] == [False, False, True, True, True]
