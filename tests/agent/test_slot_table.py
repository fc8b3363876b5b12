"""A slot is given once; what is over is recognised."""

from agent.slot_table import REMEMBERED_CALLS, Holding, SlotTable
from agent.wire import RefusalReason


def claimed(table: SlotTable, call_id: str, fencing: int = 1, owner: int = 1) -> Holding:
    held = table.claim(call_id, fencing, owner)
    assert isinstance(held, Holding), held
    return held


def test_slots_are_given_until_all_are_used_and_again_when_free() -> None:
    table = SlotTable(2)
    first, second = claimed(table, "a"), claimed(table, "b")
    assert {first.slot, second.slot} == {0, 1} and table.num_used == 2
    assert table.claim("c", 1, 1) is RefusalReason.FULL
    table.release(first)
    third = claimed(table, "c")
    assert third.slot == first.slot and third.generation != first.generation


def test_a_call_holds_one_slot_whoever_claims_and_whatever_number_it_brings() -> None:
    table = SlotTable(2)
    held = claimed(table, "a", fencing=5, owner=1)
    assert table.claim("a", 6, 2) is RefusalReason.ALREADY_CLAIMED
    assert table.find(held.slot, held.generation) is held


def test_a_late_or_repeated_claim_is_stale() -> None:
    table = SlotTable(2)
    table.release(claimed(table, "a", fencing=5))
    assert table.claim("a", 5, 1) is RefusalReason.STALE_FENCING
    assert table.claim("a", 4, 1) is RefusalReason.STALE_FENCING
    assert claimed(table, "a", fencing=6)
    assert claimed(table, "b", fencing=1)  # numbers are compared within one call only


def test_an_earlier_generation_finds_nothing_and_frees_nothing() -> None:
    table = SlotTable(1)
    old = claimed(table, "a")
    table.release(old)
    new = claimed(table, "b")
    assert table.find(old.slot, old.generation) is None
    table.release(old)
    assert table.find(new.slot, new.generation) is new and table.num_used == 1


def test_a_lost_connection_is_asked_for_what_it_held() -> None:
    table = SlotTable(3)
    mine = [claimed(table, "a", owner=1), claimed(table, "b", owner=1)]
    claimed(table, "c", owner=2)
    assert table.owned_by(1) == mine
    assert table.owned_by(3) == []


def test_a_draining_table_gives_nothing() -> None:
    table = SlotTable(1)
    table.is_draining = True
    assert table.claim("a", 1, 1) is RefusalReason.DRAINING


def test_only_the_latest_calls_numbers_are_remembered() -> None:
    table = SlotTable(1)
    for index in range(REMEMBERED_CALLS + 1):
        table.release(claimed(table, f"call-{index}", fencing=7))
    assert table.claim("call-1", 7, 1) is RefusalReason.STALE_FENCING
    assert claimed(table, "call-0", fencing=7)
