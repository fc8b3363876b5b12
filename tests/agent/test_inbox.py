"""Frames wait at most two deep, and only for the claim they were meant for."""

import numpy as np

from agent.inbox import Batch, Inbox
from agent.wire import FRAME_SAMPLES, CallerFrame


def frame(slot: int, number: int, generation: int = 1) -> CallerFrame:
    return CallerFrame(slot, generation, number, np.full(FRAME_SAMPLES, number, np.int16))


def numbers(batches: list[Batch]) -> list[dict[int, int]]:
    return [{slot: f.number for slot, f in batch.frames.items()} for batch in batches]


def test_a_batch_lays_frames_into_rows_and_leaves_the_others_silent() -> None:
    batch = Batch.of({2: frame(2, 16384)}, num_slots=3)
    assert batch.active.tolist() == [False, False, True]
    assert not batch.pcm[:2].any() and np.all(batch.pcm[2] == 0.5)


def test_late_frames_make_a_second_batch() -> None:
    inbox = Inbox(3)
    for one in (frame(0, 1), frame(1, 1), frame(1, 2)):
        inbox.put(one)
    assert numbers(inbox.collect({0: 1, 1: 1, 2: 1}, may_catch_up=True)) == [{0: 1, 1: 1}, {1: 2}]
    assert inbox.collect({0: 1, 1: 1, 2: 1}, may_catch_up=True) == []
    assert inbox.num_dropped == 0


def test_what_waits_is_told_without_taking_it() -> None:
    inbox = Inbox(2)
    inbox.put(frame(0, 1))
    assert not inbox.lacks_any({0: 1}) and inbox.lacks_any({0: 2}) and inbox.lacks_any({0: 1, 1: 1})
    assert not inbox.holds_two({0: 1, 1: 1})
    inbox.put(frame(0, 2))
    assert inbox.holds_two({0: 1, 1: 1}) and not inbox.holds_two({0: 2, 1: 1})
    assert numbers(inbox.collect({0: 1}, may_catch_up=True)) == [{0: 1}, {0: 2}]


def test_without_catching_up_the_newest_is_kept_and_the_older_counted() -> None:
    inbox = Inbox(1)
    inbox.put(frame(0, 1))
    inbox.put(frame(0, 2))
    assert numbers(inbox.collect({0: 1}, may_catch_up=False)) == [{0: 2}]
    assert inbox.num_dropped == 1


def test_a_third_frame_pushes_the_oldest_out() -> None:
    inbox = Inbox(1)
    for number in (1, 2, 3):
        inbox.put(frame(0, number))
    assert numbers(inbox.collect({0: 1}, may_catch_up=True)) == [{0: 2}, {0: 3}]
    assert inbox.num_dropped == 1


def test_frames_of_another_claim_are_not_given_out() -> None:
    inbox = Inbox(2)
    inbox.put(frame(0, 1, generation=1))
    inbox.put(frame(1, 5, generation=2))
    assert numbers(inbox.collect({0: 2, 1: 2}, may_catch_up=True)) == [{1: 5}]


def test_rows_can_be_taken_out_of_a_batch() -> None:
    batch = Batch.of({0: frame(0, 1), 1: frame(1, 2)}, num_slots=2)
    assert batch.within({0: 1, 1: 1}) is batch
    assert numbers([batch.within({1: 1}), batch.only(0)]) == [{1: 2}, {0: 1}]
    assert batch.within({1: 1}).active.tolist() == [False, True]
